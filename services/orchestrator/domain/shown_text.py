"""Text that was shown of a model call and is not in the log yet, and the events that keep it."""

from collections.abc import Iterable, Mapping

from contracts.deltas import TextStreamed
from contracts.events.turn import InterruptionReason, TextInterrupted
from contracts.ids import RunnerId
from contracts.streamed_text import CallId, call_id, text_of_call
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn

MAX_PIECE_CHARS = 65_536
"""Text of one event: also where JSON takes six bytes for each character, it can be stored."""

ShownTexts = Mapping[RunnerId, str]
"""The text that was shown of one model call, by attempt, in the order of the attempts."""


class ShownText:
    """The text that this process has shown of the newest model call of a chat."""

    def __init__(self) -> None:
        self._call: CallId | None = None
        self._attempts: dict[RunnerId, list[str]] = {}

    def add(self, chunk: TextStreamed) -> None:
        if call_id(chunk) != self._call:
            self._call, self._attempts = call_id(chunk), {}
        self._attempts.setdefault(chunk.runner, []).append(chunk.text)

    def of(self, turn: int, call: int) -> ShownTexts:
        """None of any call but the newest."""
        if self._call != CallId(turn, call):
            return {}
        return {runner: "".join(parts) for runner, parts in self._attempts.items()}


def chunks_of_call(call: CallId, chunks: Iterable[TextStreamed]) -> list[TextStreamed]:
    """The text of each attempt of a model call in one chunk, from the chunks of a chat in any order.

    An attempt is shown as far as no chunk is missing.
    """
    of_call = [chunk for chunk in chunks if call_id(chunk) == call]
    whole: list[TextStreamed] = []
    for runner in dict.fromkeys(chunk.runner for chunk in of_call):
        text = text_of_call(call, (one for one in of_call if one.runner == runner))
        chunk = None if text is None else text.after(None)
        if chunk is not None:
            whole.append(chunk)
    return whole


def interruptions(
    turn: Turn, shown: ShownTexts, reason: InterruptionReason
) -> list[TextInterrupted]:
    """The events that keep what was shown of the open model call of a turn and is not kept yet."""
    request = turn.open_request
    if request is None:
        return []
    return [
        TextInterrupted(
            turn=turn.number,
            call=request.call,
            agent=turn.agent,
            runner=runner,
            offset=offset,
            text=text[offset : offset + MAX_PIECE_CHARS],
            reason=reason,
        )
        for runner, text in shown.items()
        for offset in range(_kept(turn, request.call, runner), len(text), MAX_PIECE_CHARS)
    ]


def _kept(turn: Turn, call: int, runner: RunnerId) -> int:
    """How many characters of an attempt are in the log."""
    of_attempt = (one for one in turn.interruptions if (one.call, one.runner) == (call, runner))
    return sum(len(one.text) for one in of_attempt)


def reason_of_end(state: ChatState) -> InterruptionReason:
    """Why the open call of a run that was taken over has no response."""
    turn = state.open_turn
    if turn is None or turn.stop is None:
        return "runner_lost"
    match turn.stop.by:
        case "cancel":
            return "cancelled"
        case "budget":
            return "budget"
        case "stop" | "message":
            return "stopped"
