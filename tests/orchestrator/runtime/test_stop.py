"""Stops, cancellations and kills while an answer is streamed, on a real log: what was shown is kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
from ag2 import Agent
from ag2.events import ModelRequest

from contracts.commands import Command
from contracts.event_log import Decision
from contracts.events.chat import UserMessagesConsumed
from contracts.events.parts import text_of
from contracts.events.turn import ModelResponded, TextInterrupted, TurnStopped
from contracts.ids import StreamSeq
from contracts.streamed_text import CallId, text_of_call
from contracts.transcript import transcript
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.shown_text import MAX_PIECE_CHARS
from services.orchestrator.domain.state import pending
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import LoadedWorkflow
from services.orchestrator.workflows.spec import USER, Workflow
from services.orchestrator.workflows.spec import Agent as AgentSpec
from tests.orchestrator.agents.paced_model import PacedModel
from tests.orchestrator.agents.provider_stub import ANSWER, ErrorReply, StreamedReply
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    event_types,
    give_up,
    history,
    runner,
)
from tests.orchestrator.runtime.test_model_calls import newsroom
from tests.patience import PATIENCE_SECONDS
from tests.story import NEWSROOM, WRITER

pytestmark = pytest.mark.broker

WORDS = tuple(f"word-{number} " for number in range(12))
TALK = replace(
    NEWSROOM,
    agents={WRITER: AgentSpec(WRITER, "Write.", after_work=USER)},
    human_in_the_loop=True,
    after_user=WRITER,
)


@asynccontextmanager
async def time_limit() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        yield


def orchestrator(gateway: JetStreamGateway, model: PacedModel, workflow: Workflow = TALK) -> Runner:
    """A process of its own that runs the workflow with this model."""
    agents = AgentSet({WRITER: Agent(WRITER, config=model)})
    version = WorkflowVersion(LoadedWorkflow("Newsroom", workflow, DemoScripts()), agents)
    return runner(gateway, AgentExecutor(version, 5), {workflow.name: workflow})


async def streamed(gateway: JetStreamGateway, user: ChatUser, turn: int = 1) -> str:
    """The text that viewers of the first call of a turn have received by now."""
    chunks = await gateway.live.read_deltas(user.key, since="2026-01-01T00:00:00Z")
    text = text_of_call(CallId(turn, 0), chunks)
    return "" if text is None else text.text


async def kept(gateway: JetStreamGateway, user: ChatUser) -> list[TextInterrupted]:
    facts = await history(gateway, user.key)
    return [fact.event for fact in facts if isinstance(fact.event, TextInterrupted)]


class Held:
    """A pace that stands still before one word until the test goes on."""

    def __init__(self, word: int, *, once: bool = False) -> None:
        self.reached, self.released = asyncio.Event(), asyncio.Event()
        self._word, self._once = word, once

    async def __call__(self, number: int) -> None:
        await asyncio.sleep(0)
        if number == self._word and not (self._once and self.reached.is_set()):
            self.reached.set()
            await self.released.wait()


async def stopped_at(
    gateway: JetStreamGateway, user: ChatUser, word: int, *commands: Command
) -> PacedModel:
    """One answer that other processes end by these commands, once so many words were streamed."""
    held = Held(word)
    model = PacedModel(WORDS, held)
    running = asyncio.create_task(
        deliver(orchestrator(gateway, model), user.start_chat("Write about rain."))
    )
    await held.reached.wait()
    await asyncio.gather(
        *(deliver(orchestrator(gateway, PacedModel(WORDS)), one) for one in commands)
    )
    await running
    return model


@pytest.mark.parametrize("word", [0, 1, 5, len(WORDS)])
async def test_a_stop_keeps_the_shown_text_and_gives_the_user_the_next_turn(
    gateway: JetStreamGateway, word: int
) -> None:
    user = ChatUser()
    async with time_limit():
        model = await stopped_at(gateway, user, word, user.stop_answer(1))
    assert model.open == 0
    facts = await history(gateway, user.key)
    shown = "".join(WORDS[:word])
    assert "".join(one.text for one in await kept(gateway, user)) == shown
    assert await streamed(gateway, user) == shown
    assert event_types(facts)[-2:] == ["turn.stopped", "turn.speaker_selected"]
    state = replay(facts)
    assert (state.waits_for_user, state.ended, pending(state)) == (True, None, None)


async def test_the_model_reads_what_the_user_saw_before_the_stop_and_the_next_message(
    gateway: JetStreamGateway,
) -> None:
    user, model = ChatUser(), PacedModel(["Snow."])
    async with time_limit():
        await stopped_at(gateway, user, 3, user.stop_answer())
        await deliver(orchestrator(gateway, model), user.send_message("Snow, please"))
    messages = [
        text_of([codec.part_of(part) for part in event.parts])
        if isinstance(event, ModelRequest)
        else getattr(event, "content", None)
        for event in model.requests[0]
    ]
    assert messages == ["Write about rain.", "".join(WORDS[:3]), "Snow, please"]
    facts = await history(gateway, user.key)
    assert [(one.content, one.interrupted) for one in transcript(f.event for f in facts)] == [
        ("Write about rain.", None),
        ("".join(WORDS[:3]), "stopped"),
        ("Snow, please", None),
        ("Snow.", None),
    ]


async def test_stops_of_several_replicas_at_the_same_time_are_one(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    async with time_limit():
        await stopped_at(gateway, user, 4, *(user.stop_answer() for _ in range(5)))
    types = event_types(await history(gateway, user.key))
    assert types.count("turn.stop_requested") == types.count("turn.stopped") == 1


async def test_a_stop_in_the_moment_in_which_the_answer_ends_leaves_one_end(
    gateway: JetStreamGateway,
) -> None:
    for _ in range(10):
        user, held = ChatUser(), Held(len(WORDS))
        async with time_limit():
            running = asyncio.create_task(
                deliver(orchestrator(gateway, PacedModel(WORDS, held)), user.start_chat("Go."))
            )
            await held.reached.wait()
            stopping = asyncio.create_task(
                deliver(orchestrator(gateway, PacedModel(WORDS)), user.stop_answer(1))
            )
            held.released.set()
            await asyncio.gather(running, stopping)
        facts = await history(gateway, user.key)
        types = event_types(facts)
        assert types.count("turn.stopped") + types.count("turn.completed") == 1
        assert replay(facts).waits_for_user
        texts = [one.content for one in transcript(fact.event for fact in facts)][1:]
        assert texts == ["".join(WORDS)]


async def test_a_cancellation_keeps_the_shown_text_before_the_chat_ends(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    async with time_limit():
        await stopped_at(gateway, user, 6, user.cancel_chat())
    facts = await history(gateway, user.key)
    assert event_types(facts)[-2:] == ["turn.text_interrupted", "chat.cancelled"]
    assert facts[-1].envelope.actor == f"user:{user.user}"
    (one,) = await kept(gateway, user)
    assert (one.text, one.reason) == ("".join(WORDS[:6]), "cancelled")


async def test_a_message_that_interrupts_is_answered_after_the_shown_text(
    gateway: JetStreamGateway,
) -> None:
    interrupting = replace(TALK, while_running="interrupt")
    user, held = ChatUser(), Held(5, once=True)
    process = orchestrator(gateway, PacedModel(WORDS, held), interrupting)
    async with time_limit():
        running = asyncio.create_task(deliver(process, user.start_chat("Write about rain.")))
        await held.reached.wait()
        await deliver(process, user.send_message("Snow, please"))
        await running
    facts = await history(gateway, user.key)
    events = [fact.event for fact in facts]
    (stopped,) = [one for one in events if isinstance(one, TurnStopped)]
    assert stopped.by == "message"
    (consumed,) = [one for one in events if isinstance(one, UserMessagesConsumed)]
    assert consumed.turn == 2
    assert [one.text for one in events if isinstance(one, ModelResponded)] == ["".join(WORDS)]


# -- processes that are gone ----------------------------------------------------------------------


async def abandoned(gateway: JetStreamGateway, user: ChatUser, word: int) -> Command:
    """A chat whose process is gone after so many words; the command that it was running."""
    held, start = Held(word), user.start_chat("Write about rain.")
    lost = orchestrator(gateway, PacedModel(WORDS, held))
    running = asyncio.create_task(deliver(lost, start))
    await held.reached.wait()
    await gateway.nc.flush()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return start


@pytest.mark.parametrize("word", [0, 1, 7])
async def test_whoever_takes_a_chat_over_keeps_what_the_lost_process_has_shown(
    gateway: JetStreamGateway, word: int
) -> None:
    user = ChatUser()
    async with time_limit():
        start = await abandoned(gateway, user, word)
        await deliver(orchestrator(gateway, PacedModel(WORDS)), start, attempt=2)
    facts = await history(gateway, user.key)
    found = [(one.text, one.reason) for one in await kept(gateway, user)]
    assert found == ([("".join(WORDS[:word]), "runner_lost")] if word else [])
    assert [one.content for one in transcript(fact.event for fact in facts)][-1] == "".join(WORDS)
    assert replay(facts).waits_for_user


async def test_a_stop_that_finds_no_process_is_carried_out_by_the_next_one(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    async with time_limit():
        start = await abandoned(gateway, user, 4)
        await deliver(orchestrator(gateway, PacedModel(WORDS)), user.stop_answer(1))
        model = PacedModel(WORDS)
        await deliver(orchestrator(gateway, model), start, attempt=2)
    assert model.requests == []
    found = [(one.text, one.reason) for one in await kept(gateway, user)]
    assert found == [("".join(WORDS[:4]), "stopped")]
    assert replay(await history(gateway, user.key)).waits_for_user


async def test_a_message_that_is_given_up_keeps_what_was_shown(gateway: JetStreamGateway) -> None:
    user = ChatUser()
    async with time_limit():
        start = await abandoned(gateway, user, 4)
        await give_up(orchestrator(gateway, PacedModel(WORDS)), start, attempt=2)
    types = event_types(await history(gateway, user.key))
    assert types[-3:] == ["turn.text_interrupted", "turn.failed", "chat.failed"]


class _FailingLog(EventLog):
    """Fails each append before, or after, it is stored, at chosen numbers of events."""

    seqs: frozenset[int] = frozenset()
    when = "after"

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        hit = any(one.envelope.seq in self.seqs for one in decision.events)
        if hit and self.when == "before":
            raise RunnerDiedError
        position = await super().append(decision, after=after)
        if hit:
            raise RunnerDiedError
        return position


class RunnerDiedError(Exception):
    """The runner's process has died."""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_stop_ends_alike_wherever_the_process_dies_meanwhile(
    gateway: JetStreamGateway, when: str
) -> None:
    """At every event of the log of a stopped chat."""
    for seq in range(3, 8):
        user, held, start = ChatUser(), Held(5), None
        start = user.start_chat("Write about rain.")
        dying = JetStreamGateway(gateway.nc)
        log = _FailingLog(gateway.nc, dying.storage, dying.event_reader)
        log.seqs, log.when = frozenset([seq]), when
        dying.events = log
        async with time_limit():
            running = asyncio.create_task(
                deliver(orchestrator(dying, PacedModel(WORDS, held)), start)
            )
            reached = asyncio.create_task(held.reached.wait())
            await asyncio.wait([running, reached], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await deliver(orchestrator(gateway, PacedModel(WORDS)), user.stop_answer(1))
            reached.cancel()
            (died,) = await asyncio.gather(running, return_exceptions=True)
            if isinstance(died, RunnerDiedError):
                await deliver(orchestrator(gateway, PacedModel(WORDS)), start, attempt=2)
        facts = await history(gateway, user.key)
        state = replay(facts)
        assert (state.waits_for_user, pending(state), state.ended) == (True, None, None), seq
        texts = [one.content for one in transcript(fact.event for fact in facts)][1:]
        assert texts in (["".join(WORDS[:5])], ["".join(WORDS)]), seq


# -- attempts of one call -------------------------------------------------------------------------


async def test_the_text_of_a_call_that_is_made_again_is_kept_and_marked(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    broken = StreamedReply(words=("Never ", "mind"), complete=False)
    async with newsroom(gateway, broken, ANSWER, workflow=TALK) as (_, process), time_limit():
        await deliver(process(), user.start_chat("Write about rain."))
    (one,) = await kept(gateway, user)
    assert (one.reason, one.text) == ("retried", "Never mind")
    facts = await history(gateway, user.key)
    assert [one.content for one in transcript(fact.event for fact in facts)] == [
        "Write about rain.",
        "Never mind",
        "At last.",
    ]


async def test_the_text_of_a_request_that_led_to_no_answer_is_kept_before_its_failure(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    refused = StreamedReply(
        words=("Never ", "mind"), error={"message": "no", "code": "context_length_exceeded"}
    )
    async with newsroom(gateway, refused, ANSWER, workflow=TALK) as (_, process), time_limit():
        await deliver(process(), user.start_chat("Write about rain."))
    facts = await history(gateway, user.key)
    assert [(one.text, one.offset) for one in await kept(gateway, user)] == [("Never mind", 0)]
    types = event_types(facts)
    assert types.index("turn.text_interrupted") < types.index("turn.model_call_failed")


async def test_the_text_of_a_turn_that_fails_is_kept_before_its_end(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    failing = StreamedReply(
        words=("Never ", "mind"), error={"message": "no", "code": "insufficient_quota"}
    )
    async with newsroom(gateway, failing, workflow=TALK) as (_, process), time_limit():
        await deliver(process(), user.start_chat("Write about rain."))
    assert event_types(await history(gateway, user.key))[-3:] == [
        "turn.text_interrupted",
        "turn.failed",
        "chat.failed",
    ]


async def test_a_stop_ends_a_call_that_waits_to_be_made_again(gateway: JetStreamGateway) -> None:
    user = ChatUser()
    busy = ErrorReply(429, headers={"Retry-After": "300"})
    async with newsroom(gateway, busy, workflow=TALK) as (stub, process), time_limit():
        running = asyncio.create_task(deliver(process(), user.start_chat("Write about rain.")))
        while not stub.bodies:  # noqa: ASYNC110  the stub is a thread
            await asyncio.sleep(0.01)
        await deliver(process(), user.stop_answer(1))
        await running
    assert replay(await history(gateway, user.key)).waits_for_user


async def test_a_large_text_is_kept_in_pieces(gateway: JetStreamGateway) -> None:
    user, held = ChatUser(), Held(3)
    large = "r" * MAX_PIECE_CHARS
    async with time_limit():
        running = asyncio.create_task(
            deliver(
                orchestrator(gateway, PacedModel([large, large, "end"], held)),
                user.start_chat("Go."),
            )
        )
        await held.reached.wait()
        await deliver(orchestrator(gateway, PacedModel(WORDS)), user.stop_answer())
        await running
    pieces = await kept(gateway, user)
    assert "".join(one.text for one in pieces) == 2 * large + "end"
    assert [one.offset for one in pieces] == [0, MAX_PIECE_CHARS, 2 * MAX_PIECE_CHARS]


@pytest.mark.parametrize("seed", range(3))
async def test_at_random_words_every_ending_keeps_what_was_streamed(
    gateway: JetStreamGateway, seed: int
) -> None:
    draw = Random(seed)
    for _ in range(5):
        user, word = ChatUser(), draw.randrange(len(WORDS))
        ending: Command = user.stop_answer() if draw.random() < 0.5 else user.cancel_chat()
        async with time_limit():
            await stopped_at(gateway, user, word, ending)
        assert "".join(one.text for one in await kept(gateway, user)) == "".join(WORDS[:word])
