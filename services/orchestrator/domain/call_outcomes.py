"""What the log knows of a tool call: never begun, running or in doubt, waiting, or ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.events.human import HumanAnswered
from contracts.events.turn import RUNTIME, ToolDispatched
from contracts.ids import QuestionId
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn

HAPPENED, NOT_HAPPENED, AGAIN = "It happened", "It did not happen", "Do it again"
"""The answers to the question about a call in doubt; a result may follow the first, after a colon."""
DOUBT_ANSWERS = [HAPPENED, NOT_HAPPENED, AGAIN]


@dataclass(frozen=True, slots=True)
class Happened:
    """The call took effect; `result` is what the user says that it returned, if anything."""

    result: str


@dataclass(frozen=True, slots=True)
class DidNotHappen:
    """The call took no effect, and is not to be made."""


@dataclass(frozen=True, slots=True)
class DoItAgain:
    """The call is to be made once more."""


DoubtAnswer = Happened | DidNotHappen | DoItAgain


def doubt_answer(text: str) -> DoubtAnswer | None:
    """What the user says of a call in doubt; None for a text that says none of the three."""
    words, _, result = text.strip().partition(":")
    match words.strip().casefold().rstrip("."):
        case "it happened":
            return Happened(result.strip())
        case "it did not happen":
            return DidNotHappen()
        case "do it again":
            return DoItAgain()
        case _:
            return None


def newest_dispatch(state: ChatState, turn: Turn, call: str) -> ToolDispatched | None:
    """The newest dispatch of a call of the open turn, or of a tool before or after the chat."""
    if turn.agent == RUNTIME:
        return state.lifecycle_dispatches.get(call)
    return None if state.open_turn is None else state.open_turn.dispatches.get(call)


def is_running(state: ChatState, turn: Turn, call: str) -> bool:
    """Whether a call was dispatched, and nothing is known of it since.

    If no process runs it, it is in doubt.
    """
    if turn.agent == RUNTIME:
        return call in state.lifecycle_dispatches and call not in state.lifecycle_results
    return state.open_turn is not None and call in state.open_turn.running


def arguments_of(state: ChatState, call: str) -> str | Mapping[str, Any]:
    """The arguments of a call of the open turn: the model's text, or the runtime's values."""
    turn = state.open_turn
    if turn is None:
        return {}
    for response in reversed(turn.responses):
        for one in response.tool_calls:
            if one.id == call:
                return one.arguments
    invoked = (one.arguments for one in turn.invocations if one.tool_call_id == call)
    return next(invoked, {})


def argument_values(arguments: str | Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as values; empty if a model wrote something else than a JSON object."""
    if not isinstance(arguments, str):
        return dict(arguments)
    try:
        values = json.loads(arguments or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def answered_text(state: ChatState, question: QuestionId) -> str | None:
    """The user's answer to a question of the open turn; None if there is none yet."""
    answer = None if state.open_turn is None else state.open_turn.answers.get(question)
    return answer.text if isinstance(answer, HumanAnswered) else None
