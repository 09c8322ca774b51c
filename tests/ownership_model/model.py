"""The ownership protocol as a state machine, small enough to visit every one of its states.

One chat, its log, the work queue COMMANDS and a few processes, with every order of their steps and of
the faults. **A pending chat always has an unacknowledged message, its owner's**: that is the invariant.

What is left out, and why nothing is lost by it:
* A task that has read the log is what it decided, without its copy of the log: a decision to append is
  refused once the log has moved on (the task is before its read again); one that appends nothing is a
  fact about a position, and stands.
* A task may decide on the state that its process keeps, without a read. If that is the newest, it is
  what a read gives; if not, an append is refused, and a decision to append nothing is not taken from it
  but after a read. Either way the task is before its read.
* A slow task is one that others overtake; a paused one is one whose message is delivered meanwhile. An
  append that lands late is a paused task that crashes after it: at one position a task decides the same.
* `process` in a runner tells deliveries apart that share message and attempt; it says nothing more.

`python -m tests.ownership_model.model` prints how many states each setup has.
"""

import sys
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from tests.ownership_model.explorer import Exploration, Move, explore

Command = Literal["start", "message", "answer", "cancel", "resume"]
Status = Literal["unsent", "waiting", "delivered", "acknowledged", "given up", "lost"]
Fault = Literal["crash", "pause", "drain", "append answer lost", "consumer lost", "message lost", "hasty audit", "stale read", "early return"]  # fmt: skip
Decision = Literal["read", "append command", "append run", "append run.claimed", "append chat.failed", "append command.given_up", "acknowledge", "terminate", "return", "stop", "heartbeat only"]  # fmt: skip
Brings = Literal["in the log", "something", "nothing yet", "nothing for ever"]
Broken = Literal["acknowledge before quiet", "owner not cleared", "heartbeat after the fence", "no claim on takeover", "claim without looking at the attempt", "owner by command id only", "give-up without failing the chat", "acknowledge when fenced", "give-up leaves no mark", "acknowledge a command that came too early", "runner without process", "claim twice", "command not looked for in the log"]  # fmt: skip
INVARIANT = "a pending chat always has an unacknowledged message, its owner's"
ONE_RUNNER = "a fenced runner never writes, and only a claim changes the runner"
EFFECT_ONCE = "an acknowledged command has its effect in the log, once"


class Sent(NamedTuple):
    """A message of COMMANDS; its index in the setup is its stream sequence."""

    command: Command
    command_id: str


class Setup(NamedTuple):
    """`steps` is the work of a start; if a chat `asks`, its first step shows a question."""

    messages: tuple[Sent, ...]
    faults: frozenset[Fault]
    tries: int = 2
    processes: int = 2
    steps: int = 2
    asks: bool = False
    broken: Broken | None = None


class Runner(NamedTuple):
    process: int
    message: int
    attempt: int


class Owner(NamedTuple):
    command_id: str
    message: int


class Chat(NamedTuple):
    """What everyone folds from the log: `work` above 0 is pending, 0 is quiet.

    `runners` made the run and claim events of the open stretch, the current one last.
    """

    started: bool = False
    ended: bool = False
    work: int = 0
    question: Literal["unasked", "open", "answered"] = "unasked"
    applied: frozenset[str] = frozenset()
    owner: Owner | None = None
    runners: tuple[Runner, ...] = ()


class Message(NamedTuple):
    """The state of a message in COMMANDS; `losses` counts how often it lost the state or the message."""

    status: Status = "unsent"
    attempt: int = 0
    losses: int = 0
    lost_owner: Owner | None = None  # of a resume: the owner whose message the audit did not find


class Task(NamedTuple):
    """A delivery in a process; `appended` if it has appended its command itself."""

    runner: Runner
    decision: Decision = "read"
    appended: bool = False
    paused: bool = False


class State(NamedTuple):
    chat: Chat
    queue: tuple[Message, ...]
    tasks: frozenset[Task] = frozenset()
    replica: Chat = Chat()  # what a follower that lags returns
    broken: str = ""  # the rule that the last step broke


def evolve(chat: Chat, decision: Decision, sent: Sent, me: Runner, setup: Setup) -> Chat:
    """The chat after one more append."""
    known = chat._replace(applied=chat.applied | {sent.command_id})
    by_me = chat.runners if chat.runners[-1:] == (me,) else (*chat.runners, me)
    match decision, sent.command:
        case "append run", _:
            known = known._replace(work=chat.work - 1, runners=by_me)
            if setup.asks and chat.question == "unasked":
                known = known._replace(question="open")
        case "append run.claimed", _:
            known = known._replace(owner=Owner(sent.command_id, me.message), runners=by_me)
        case "append command.given_up", _:
            known = known._replace(ended=chat.ended or sent.command == "start")
        case ("append chat.failed", _) | (_, "cancel"):
            known = known._replace(work=0, ended=True)
        case _, command:
            more = setup.steps if command == "start" else 1
            owner = chat.owner or Owner(sent.command_id, me.message)
            known = known._replace(started=True, work=chat.work + more, owner=owner)
            known = known._replace(question="answered") if command == "answer" else known
    if known.work:
        return known
    kept = known.owner if setup.broken == "owner not cleared" else None
    return known._replace(owner=kept, runners=())


def brings(chat: Chat, sent: Sent, message: Message) -> Brings:
    """What a command would append. That it never appends anything must follow from the log."""
    if sent.command_id in chat.applied:
        return "in the log"
    if chat.ended:
        return "nothing for ever"
    match sent.command:
        case "start":
            return "nothing for ever" if chat.started else "something"
        case "message" | "cancel":
            return "something" if chat.started else "nothing yet"
        case "answer" if chat.question == "unasked":
            return "nothing yet"
        case "answer":
            return "something" if chat.question == "open" else "nothing for ever"
        case "resume" if message.lost_owner and message.lost_owner.command_id not in chat.applied:
            return "nothing yet"
        case "resume":
            return "something" if chat.owner == message.lost_owner else "nothing for ever"


def decide(chat: Chat, task: Task, message: Message, setup: Setup) -> Decision:
    """What a delivery does next: a function of the log and of the delivery alone."""
    me, sent, broken = task.runner, setup.messages[task.runner.message], setup.broken
    blind = broken == "command not looked for in the log"
    found = brings(chat._replace(applied=frozenset()) if blind else chat, sent, message)
    if me.attempt > setup.tries:
        return _give_up(chat, task, message, setup, found)
    if found == "something":
        return "append run.claimed" if sent.command == "resume" else "append command"
    if found == "nothing yet" and broken != "acknowledge a command that came too early":
        return "return"
    if not _owns(chat, me, setup) or broken == "acknowledge before quiet":
        return "acknowledge"
    claims = (me.attempt > 1 or not task.appended) and broken != "no claim on takeover"
    if claims and (me not in chat.runners or broken == "claim twice"):
        fenced = _is_fenced(chat, me, me.attempt + 1, setup)
        ignored = broken == "claim without looking at the attempt"
        return _stop(setup) if fenced and not ignored else "append run.claimed"
    return _stop(setup) if _is_fenced(chat, me, me.attempt, setup) else "append run"


def _give_up(chat: Chat, task: Task, message: Message, setup: Setup, found: Brings) -> Decision:
    """The log first, the queue last: an older attempt may be paused before its append."""
    owns = _owns(chat, task.runner, setup) or (chat.owner and chat.owner == message.lost_owner)
    if owns and setup.broken != "give-up without failing the chat":
        return "append chat.failed"
    if found in {"something", "nothing yet"} and setup.broken != "give-up leaves no mark":
        return "append command.given_up"
    return "terminate"


def _owns(chat: Chat, me: Runner, setup: Setup) -> bool:
    mine = Owner(setup.messages[me.message].command_id, me.message)
    if setup.broken == "owner by command id only" and chat.owner:
        return chat.owner.command_id == mine.command_id
    return chat.work > 0 and chat.owner == mine


def _is_fenced(chat: Chat, me: Runner, since: int, setup: Setup) -> bool:
    """Whether another runner of my message, of attempt `since` or a later one, is the current one."""
    if not chat.runners:
        return False
    current = chat.runners[-1]
    other = current != me and (setup.broken != "runner without process" or current[1:] != me[1:])
    return other and current.message == me.message and current.attempt >= since


def _stop(setup: Setup) -> Decision:
    if setup.broken == "acknowledge when fenced":
        return "acknowledge"
    return "heartbeat only" if setup.broken == "heartbeat after the fence" else "stop"


def moves(state: State, setup: Setup) -> Iterator[Move[State]]:
    """Every step and every fault that may come next."""
    for number, message in enumerate(state.queue):
        name = f"message {number} ({setup.messages[number].command})"
        if message.status == "unsent":
            yield from _send(state, number, name, setup)
        if message.status in {"waiting", "delivered"} and len(state.tasks) < setup.processes:
            yield from _deliver(state, number, name, setup)
        yield from _lose(state, number, name, setup)
    for task in state.tasks:
        yield from _disturb(state, task, setup)
        yield from _act(state, task, setup)
    if "stale read" in setup.faults and state.replica != state.chat:
        yield Move("the replica catches up", state._replace(replica=state.chat), fault=True)


def _send(state: State, number: int, name: str, setup: Setup) -> Iterator[Move[State]]:
    command, chat = setup.messages[number].command, state.chat
    if command == "resume" and chat.owner:
        hasty = state.queue[chat.owner.message].status != "lost"
        if not hasty or "hasty audit" in setup.faults:
            sent = _put(state, number, status="waiting", lost_owner=chat.owner)
            yield Move(f"the audit sends {name}", sent, fault=hasty)
    elif command != "resume" and (command != "answer" or chat.question != "unasked"):
        yield Move(f"{name} is sent", _put(state, number, status="waiting"), fault=True)


def _deliver(state: State, number: int, name: str, setup: Setup) -> Iterator[Move[State]]:
    """Heartbeats prevent redelivery, unless the message was returned or its tasks pause."""
    message = state.queue[number]
    attempt = min(message.attempt + 1, setup.tries + 1)
    beating = {task for task in state.tasks if task.runner.message == number and not task.paused}
    task = Task(Runner(message.losses, number, attempt))
    after = _put(state, number, status="delivered", attempt=attempt)
    if message.status == "waiting" or not beating:
        delivered = after._replace(tasks=state.tasks | {task})
        yield Move(f"{name} is delivered, attempt {attempt}", delivered)
    elif "pause" in setup.faults and all(one.decision != "heartbeat only" for one in beating):
        paused = (state.tasks - beating) | {one._replace(paused=True) for one in beating}
        again = after._replace(tasks=paused | {task})
        yield Move(f"its task pauses: {name} is delivered, attempt {attempt}", again, fault=True)


def _lose(state: State, number: int, name: str, setup: Setup) -> Iterator[Move[State]]:
    """At most one message is lost; it may come back, from a copy of the stream."""
    message, losses = state.queue[number], state.queue[number].losses + 1
    in_queue = message.status in {"waiting", "delivered"}
    if in_queue and "consumer lost" in setup.faults and message.attempt and not message.losses:
        anew = _put(state, number, status="waiting", attempt=0, losses=losses)
        yield Move(f"the consumer forgets {name}", anew, fault=True)
    if in_queue and "message lost" in setup.faults and not any(m.losses for m in state.queue):
        lost = _put(state, number, status="lost", attempt=0, losses=losses)
        yield Move(f"{name} is purged", lost, fault=True)
    if "early return" in setup.faults and message.status == "delivered":
        returned = _put(state, number, status="waiting")
        yield Move(f"another process returns {name}", returned, fault=True)
    if message.status == "lost":
        yield Move(f"{name} is restored", _put(state, number, status="waiting"), fault=True)


def _disturb(state: State, task: Task, setup: Setup) -> Iterator[Move[State]]:
    gone = state._replace(tasks=state.tasks - {task})
    if task.paused:  # a task that never continues counts as crashed
        yield Move(f"{_name(task)} never comes back", gone)
    elif "crash" in setup.faults:
        yield Move(f"{_name(task)} crashes", gone, fault=True)
    if "drain" in setup.faults and not task.paused:
        yield Move(f"{_name(task)} drains", _settle(gone, task, "waiting"), fault=True)


def _act(state: State, task: Task, setup: Setup) -> Iterator[Move[State]]:
    """The step that the task has decided on."""
    rest, awake = state._replace(tasks=state.tasks - {task}), task._replace(paused=False)
    name, sent = f"{_name(task)}: {task.decision}", setup.messages[task.runner.message]
    match task.decision:
        case "read":
            yield Move(name, _decided(rest, awake, state.chat, setup), task.paused)
            if "stale read" in setup.faults:
                stale = _decided(rest, awake, state.replica, setup)
                yield Move(f"{name} (stale)", stale, fault=True)
        case "acknowledge":
            found = brings(state.chat, sent, state.queue[task.runner.message])
            broken = EFFECT_ONCE if found in {"something", "nothing yet"} else ""
            after = _settle(rest, task, "acknowledged")._replace(broken=broken)
            yield Move(name, after, task.paused)
        case "terminate":
            yield Move(name, _settle(rest, task, "given up"), task.paused)
        case "return":
            yield Move(name, _settle(rest, task, "waiting"), task.paused)
        case "stop":
            yield Move(name, rest, task.paused)
        case "heartbeat only":
            pass
        case _:
            after = _append(rest, awake, setup)
            own = awake.appended or sent.command == "resume" or task.decision == "append command"
            known = _decided(after, awake._replace(appended=own), after.chat, setup)
            yield Move(name, known, task.paused)
            if "append answer lost" in setup.faults:
                unsure = after.tasks | {awake._replace(decision="read")}
                yield Move(f"{name} (answer lost)", after._replace(tasks=unsure), fault=True)


def _append(rest: State, task: Task, setup: Setup) -> State:
    """Append at the expected position: what others have decided to append is rejected from now on."""
    me, sent = task.runner, setup.messages[task.runner.message]
    others = frozenset(_read_again(one) for one in rest.tasks)
    runners, broken = rest.chat.runners, ""
    if task.decision == "append command" and sent.command_id in rest.chat.applied:
        broken = EFFECT_ONCE
    if me in runners[:-1] or (task.decision == "append run" and runners and me != runners[-1]):
        broken = ONE_RUNNER
    chat = evolve(rest.chat, task.decision, sent, me, setup)
    return rest._replace(chat=chat, tasks=others, broken=broken)


def _read_again(task: Task) -> Task:
    """The task after another append, or after a read of old data."""
    return task._replace(decision="read") if task.decision.startswith("append") else task


def _decided(rest: State, task: Task, chat: Chat, setup: Setup) -> State:
    """The task has read this chat, and has decided."""
    known = task._replace(decision=decide(chat, task, rest.queue[task.runner.message], setup))
    return rest._replace(tasks=rest.tasks | {known if chat == rest.chat else _read_again(known)})


def _settle(state: State, task: Task, status: Status) -> State:
    """COMMANDS accepts acknowledgements of any delivery of a message that it still has."""
    number = task.runner.message
    in_queue = state.queue[number].status in {"waiting", "delivered"}
    return _put(state, number, status=status) if in_queue else state


def _put(state: State, number: int, **changed: Any) -> State:
    message = state.queue[number]._replace(**changed)
    return state._replace(queue=(*state.queue[:number], message, *state.queue[number + 1 :]))


def _name(task: Task) -> str:
    again = f" of process {task.runner.process}" if task.runner.process else ""
    back = " comes back" if task.paused else ""
    return f"message {task.runner.message}, attempt {task.runner.attempt}{again}{back}"


def violation(state: State) -> str:
    """The rule that this state breaks, empty where it breaks none.

    A message that was purged is excused: that the audit finds and mends it is PROGRESS.
    """
    owner = state.chat.owner
    held = owner and state.queue[owner.message].status in {"waiting", "delivered", "lost"}
    return INVARIANT if state.chat.work and not held else state.broken


def is_settled(state: State) -> bool:
    """Whether the chat is quiet and no message is left."""
    in_queue = any(message.status in {"waiting", "delivered"} for message in state.queue)
    return state.chat.work == 0 and not in_queue


def check(setup: Setup) -> Exploration[State]:
    """Every state that this setup can reach, or the shortest history that breaks a rule."""
    start = State(Chat(), (Message("waiting"), *(Message() for _ in setup.messages[1:])))
    return explore(start, lambda state: moves(state, setup), violation, is_settled)


START, RESUME = Sent("start", "a"), Sent("resume", "r")
SAY, ANSWER, EXPIRE = Sent("message", "b"), Sent("answer", "c"), Sent("answer", "d")
CANCEL = Sent("cancel", "e")
PAUSE: frozenset[Fault] = frozenset({"pause"})
FAULTS: frozenset[Fault] = frozenset({"crash", "pause"})
SETUPS = {
    "a message beside the run": Setup((START, SAY), FAULTS),
    "one message, many deliveries": Setup((START,), FAULTS | {"drain", "append answer lost"}, tries=3),
    "a command sent twice": Setup((START, START), FAULTS, steps=1),
    "a question, its answer and its timer": Setup((START, ANSWER, EXPIRE), PAUSE, tries=1, asks=True),
    "an answer beside the run": Setup((START, ANSWER), FAULTS, asks=True),
    "a message and a cancel": Setup((START, SAY, CANCEL), PAUSE, tries=1, steps=1),
    "a consumer that loses its state": Setup((START,), FAULTS | {"append answer lost", "consumer lost"}, processes=3, tries=1),
    "a standby that returns messages": Setup((START,), FAULTS | {"append answer lost", "early return"}, processes=3),
    "a standby beside two messages": Setup((START, SAY), frozenset({"early return", "crash"}), tries=1),
    "a message lost": Setup((START, RESUME), FAULTS | {"message lost"}, tries=1),
    "an audit at a bad moment": Setup((START, SAY, RESUME), PAUSE | {"hasty audit"}, tries=1),
    "a replica that is behind": Setup((START, ANSWER), PAUSE | {"stale read"}, tries=1, asks=True),
    "a resume and a replica behind": Setup((START, RESUME), PAUSE | {"message lost", "stale read"}, tries=1),
}  # fmt: skip

if __name__ == "__main__":
    for title, setup in SETUPS.items():
        result = check(setup)
        said = result.broken or "every rule holds"
        sys.stdout.write(f"{len(result.visited):9,} states of {title}: {said}\n")
