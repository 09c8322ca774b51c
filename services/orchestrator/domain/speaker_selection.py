"""Select the next speaker: by the workflow's handoff rules, else by its orchestration pattern."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from random import Random
from typing import Any

from contracts.events.turn import SELECTOR, Choice
from contracts.ids import AgentName
from services.orchestrator.domain.state import ChatState, ConversationEntry
from services.orchestrator.domain.turn import Turn, UserInput
from services.orchestrator.workflows.expressions import evaluate
from services.orchestrator.workflows.reply_text import json_candidates, without_reasoning
from services.orchestrator.workflows.spec import TERMINATE, USER, Rule, Workflow

MAX_SELECTION_ATTEMPTS = 3
"""Answers of a selector that name no candidate before the next agent in order is chosen instead."""
WARNED_SHARE = 0.8
"""The share of `max_turns` after which the user is warned."""
_NAME_KEYS = ("next", "next_speaker", "speaker", "agent", "name")
"""The keys under which models put a name, although `next` was asked for."""
_LABEL = re.compile(r"^[^:=>]{1,40}(?:[:=]|->)")
"""What may stand before a name in its line: `Next speaker: `."""


@dataclass(frozen=True, slots=True)
class Speaker:
    agent: AgentName
    by: Choice


@dataclass(frozen=True, slots=True)
class Finish:
    """The chat is completed, with the `reason` of `chat.completed`."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandoffCycle:
    """Agents whose `before_reply` rules hand over in a cycle, so that none of them replies."""

    agents: tuple[AgentName, ...]


@dataclass(frozen=True, slots=True)
class TurnLimit:
    """The chat nears `max_turns` with its turn number `turns`, or `waits` for the user after it."""

    turns: int
    waits: bool


Next = Speaker | Finish | HandoffCycle


def next_speaker(workflow: Workflow, state: ChatState) -> Next:
    """What follows in a chat without an open turn.

    First the agent's own handoff, then its after-work rules, then the pattern. The chosen agent's
    `before_reply` rules may redirect. After `max_turns` turns of agents every pattern stops; with
    `human_in_the_loop` the chat waits there for a message of the user, and then goes on as long again.
    """
    return _within_limits(workflow, state, _by_rules(workflow, state))


def after_selection(workflow: Workflow, state: ChatState, answer: str) -> Next:
    """What follows once the selector has answered; its turn is the newest of the chat.

    If the answer names no candidate, the selector is asked again; after MAX_SELECTION_ATTEMPTS
    answers the next agent in order is chosen.
    """
    return _within_limits(workflow, state, _selected(workflow, state, answer))


def turn_limit(workflow: Workflow, state: ChatState, follows: Speaker) -> TurnLimit | None:
    """What the user is to read about `max_turns` when this speaker is selected; mostly nothing.

    The user is warned once within `max_turns` turns, when WARNED_SHARE of them are used.
    """
    if not workflow.human_in_the_loop:
        return None
    if follows.by == "max_turns":
        return TurnLimit(state.agent_turns, waits=True)
    if follows.agent in (USER, SELECTOR):
        return None
    used = state.agent_turns % workflow.max_turns + 1
    if used != math.ceil(workflow.max_turns * WARNED_SHARE):
        return None
    return TurnLimit(state.agent_turns + 1, waits=False)


def candidates(workflow: Workflow) -> tuple[AgentName, ...]:
    """Whom a selector may choose: every agent, and the user if `human_in_the_loop`."""
    return (*workflow.agents, *((USER,) if workflow.human_in_the_loop else ()))


# -- rules ------------------------------------------------------------------------------------


def _by_rules(workflow: Workflow, state: ChatState) -> Next:
    if state.last_speaker is None:
        user_first = workflow.startup_mode == "UserDriven" and not state.conversation
        return Speaker(USER if user_first else workflow.initial_agent, "initial")
    if state.last_speaker == USER:
        return _after_user(workflow, state)
    turn = _last_turn(state)
    assert turn is not None  # noqa: S101  the last speaker is an agent
    follows = _after_turn(workflow, state, turn)
    if turn.waiting_inputs and isinstance(follows, Speaker) and follows.agent == USER:
        return _after_user(workflow, state)  # the user wrote during the agent's turn
    return follows


def _after_turn(workflow: Workflow, state: ChatState, turn: Turn) -> Next:
    if turn.handoff is not None:
        return _speaker_or_finish(turn.handoff, "handoff")
    agent = workflow.agents.get(turn.agent)
    if agent is None:
        return _by_pattern(workflow, state)
    target = _first_matching(agent.after_work_if, state) or agent.after_work
    return (
        _by_pattern(workflow, state) if target is None else _speaker_or_finish(target, "after_work")
    )


def _after_user(workflow: Workflow, state: ChatState) -> Next:
    """After a user's message: the rules of the user, else the last agent or the pattern."""
    target = _first_matching(workflow.after_user_if, state) or workflow.after_user
    if target is not None:
        return _speaker_or_finish(target, "user_message")
    turn = _last_turn(state)
    if turn is None:
        return Speaker(workflow.initial_agent, "user_message")
    if workflow.pattern == "DefaultPattern":
        return Speaker(turn.agent, "user_message")
    return _by_pattern(workflow, state)


def _first_matching(rules: Iterable[Rule], state: ChatState) -> AgentName | None:
    """The target of the first rule whose condition is true."""
    return next((r.target for r in rules if evaluate(r.condition, state.variables)), None)


def _speaker_or_finish(target: AgentName, by: Choice) -> Next:
    return Finish(TERMINATE) if target == TERMINATE else Speaker(target, by)


# -- patterns ---------------------------------------------------------------------------------


def _by_pattern(workflow: Workflow, state: ChatState) -> Next:
    match workflow.pattern:
        case "DefaultPattern":
            return Finish(TERMINATE)
        case "RoundRobinPattern":
            return Speaker(_next_in_order(workflow, state), "round_robin")
        case "RandomPattern":
            return Speaker(_random_agent(workflow, state), "random")
        case "AutoPattern":
            only, *others = candidates(workflow)
            return Speaker(SELECTOR if others else only, "auto")


def _next_in_order(workflow: Workflow, state: ChatState) -> AgentName:
    order = list(workflow.agents)
    turn = _last_turn(state)
    if turn is None or turn.agent not in workflow.agents:
        return order[0]
    return order[(order.index(turn.agent) + 1) % len(order)]


def _random_agent(workflow: Workflow, state: ChatState) -> AgentName:
    """A random agent, never the same one twice in a row; a replay of the chat draws the same one."""
    turn = _last_turn(state)
    others = [name for name in workflow.agents if turn is None or name != turn.agent]
    random = Random(f"{state.seed}:{state.turns + 1}")  # noqa: S311  reproducible, not secret
    return random.choice(others or list(workflow.agents))


def _selected(workflow: Workflow, state: ChatState, answer: str) -> Next:
    name = _candidate_in(candidates(workflow), answer)
    if name == USER and isinstance(state.conversation[-1], UserInput):
        return _after_user(workflow, state)  # the user wrote during the selection
    if name is not None:
        return Speaker(name, "auto")
    if _selection_attempts(state) < MAX_SELECTION_ATTEMPTS:
        return Speaker(SELECTOR, "auto")
    return Speaker(_next_in_order(workflow, state), "fallback")


def _selection_attempts(state: ChatState) -> int:
    """How many turns the selector has had in a row."""
    return len(list(takewhile(_is_selection, reversed(state.conversation))))


def _candidate_in(names: Iterable[AgentName], answer: str) -> AgentName | None:
    """The candidate that an answer names.

    The answer is a name, JSON with a name, a text with a line that is a name, or a text that mentions
    exactly one of the names. A name is recognised in another case, Unicode form, with Markdown
    escapes, quotes and underscores.
    """
    options = tuple(names)
    text = _answer_text(answer, options)
    return _equal(options, text) or _line_of(options, text) or _mentioned(options, text)


def _equal(options: Sequence[AgentName], text: str) -> AgentName | None:
    for normalise in (str.strip, str.casefold, _spoken, _bare, _without_spaces):
        equal = [name for name in options if normalise(name) == normalise(text)]
        if len(equal) == 1:
            return equal[0]
    return None


def _line_of(options: Sequence[AgentName], text: str) -> AgentName | None:
    """The name that a line of a longer text is, also after a label: others may be in its reasons."""
    lines = text.splitlines()
    if len(lines) < 2:
        return None
    found = {_equal(options, line) or _equal(options, _LABEL.sub("", line)) for line in lines}
    named = found - {None}
    return named.pop() if len(named) == 1 else None


def _mentioned(options: Sequence[AgentName], text: str) -> AgentName | None:
    spellings = [_spoken(name) for name in options]
    by_spelling = {
        spelling: name
        for spelling, name in zip(spellings, options, strict=True)
        if spelling and spellings.count(spelling) == 1
    }
    mentioned = {by_spelling[found] for found in _mentions(by_spelling, _spoken(text))}
    return mentioned.pop() if len(mentioned) == 1 else None


_SEPARATORS = re.compile(r"[\s_\-\u2010\u2011]+")


def _spoken(text: str) -> str:
    """What two spellings of a name have in common: hyphens and underscores are spaces."""
    composed = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", composed).replace("\\", "")
    return _SEPARATORS.sub(" ", text).strip()


def _bare(text: str) -> str:
    """The same without punctuation around it, of whatever script."""
    spoken = _spoken(text)
    edges = {one for one in spoken if unicodedata.category(one)[0] in "PSZ"}
    return spoken.strip("".join(edges))


def _without_spaces(text: str) -> str:
    """The same as one word: `ProductManager` for "Product Manager"."""
    return _bare(text).replace(" ", "")


def _mentions(names: Iterable[str], text: str) -> list[str]:
    """The names in a text; of two names that overlap there, the longer one."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.findall("|".join(map(_as_word, longest_first)), text) if longest_first else []


def _as_word(name: str) -> str:
    """A pattern for a name that is not part of a longer word."""
    return f"(?<!{_same_word(name[0])}){re.escape(name)}(?!{_same_word(name[-1])})"


def _same_word(edge: str) -> str:
    """A pattern for what continues a word beyond a character at its edge.

    Chinese, Japanese and Korean put no space between a word and one in Latin script, or between
    words of their own.
    """
    if unicodedata.east_asian_width(edge) in "WF":
        return r"[^\s\S]"
    return "[a-z0-9]" if edge.isascii() else r"\w"


def _answer_text(answer: str, options: Sequence[AgentName]) -> str:
    """The text of a selector's answer, or the name in the JSON value that it is or contains."""
    for candidate in json_candidates(answer):
        try:
            parsed = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        match parsed:
            case str():
                return parsed
            case dict() | list():
                return _named_in(parsed, options)
            case _:
                continue
    return without_reasoning(answer)


def _named_in(parsed: Any, options: Sequence[AgentName]) -> str:
    """The name in a JSON value: under a usual key, the only text, or the only text that is a name."""
    texts = [*_texts_of(parsed)]
    usual = [(_NAME_KEYS.index(key), text) for key, text in texts if key in _NAME_KEYS]
    if usual:
        return min(usual, key=itemgetter(0))[1]
    if len(texts) == 1:
        return texts[0][1]
    named = {_equal(options, text) for _, text in texts} - {None}
    return str(named.pop()) if len(named) == 1 else ""


def _texts_of(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in a JSON value, each with the key under which it stands."""
    match value:
        case str():
            yield key, value
        case dict():
            for name, inner in value.items():
                yield from _texts_of(inner, name.casefold())
        case list():
            for inner in value:
                yield from _texts_of(inner, key)
        case _:
            pass


# -- limits -----------------------------------------------------------------------------------


def _within_limits(workflow: Workflow, state: ChatState, follows: Next) -> Next:
    """The speaker after `before_reply` rules and reply limits; the user or Finish after `max_turns`."""
    if isinstance(follows, Speaker):
        follows = _after_before_reply_rules(workflow, state, follows)
    if isinstance(follows, Speaker):
        follows = _within_reply_limit(workflow, state, follows)
    if not isinstance(follows, Speaker) or follows.agent == USER:
        return follows
    if workflow.human_in_the_loop:
        return Speaker(USER, "max_turns") if _needs_message(workflow, state) else follows
    return Finish("max_turns") if state.agent_turns >= workflow.max_turns else follows


def _needs_message(workflow: Workflow, state: ChatState) -> bool:
    """Whether agents have had `max_turns` turns, or as many again, and the user has not written since."""
    if (
        state.agent_turns == 0
        or state.agent_turns % workflow.max_turns
        or state.last_speaker == USER
    ):
        return False
    turn = _last_turn(state)
    return turn is None or not turn.user_inputs


def _after_before_reply_rules(workflow: Workflow, state: ChatState, speaker: Speaker) -> Next:
    """The agent that replies once all `before_reply` rules are followed."""
    chain = [speaker.agent]
    while (agent := workflow.agents.get(chain[-1])) is not None:
        target = _first_matching(agent.before_reply, state)
        if target is None or target == chain[-1]:
            break
        if target == TERMINATE:
            return Finish(TERMINATE)
        if target in chain:  # no variable changes between the rules: the cycle would never end
            return HandoffCycle((*chain, target))
        chain.append(target)
    return speaker if len(chain) == 1 else Speaker(chain[-1], "before_reply")


def _within_reply_limit(workflow: Workflow, state: ChatState, speaker: Speaker) -> Next:
    """The speaker, or the user (else Finish) if the agent's limit of consecutive turns is reached."""
    agent = workflow.agents.get(speaker.agent)
    limit = None if agent is None else agent.max_consecutive_auto_reply
    if limit is None or _consecutive_turns(state, speaker.agent) < limit:
        return speaker
    if workflow.human_in_the_loop:
        return Speaker(USER, "reply_limit")
    return Finish("max_consecutive_auto_reply")


def _consecutive_turns(state: ChatState, agent: AgentName) -> int:
    """How many turns an agent has had since any other speaker's, not counting the selector's."""
    entries = (entry for entry in reversed(state.conversation) if not _is_selection(entry))
    return len(
        list(takewhile(lambda one: not isinstance(one, UserInput) and one.agent == agent, entries))
    )


def _last_turn(state: ChatState) -> Turn | None:
    """The newest turn of an agent."""
    turns = (entry for entry in reversed(state.conversation) if isinstance(entry, Turn))
    return next((turn for turn in turns if turn.agent != SELECTOR), None)


def _is_selection(entry: ConversationEntry) -> bool:
    return isinstance(entry, Turn) and entry.agent == SELECTOR
