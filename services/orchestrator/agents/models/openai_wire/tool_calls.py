"""Puts tool calls together from the pieces in which they are streamed."""

from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace

from services.orchestrator.agents.models.openai_wire.chunks import ToolCallDelta
from services.orchestrator.agents.models.wire import json_text


@dataclass(slots=True)
class ToolCallParts:
    """What has come of one call; `names` are the pieces of its name, or repetitions of it."""

    index: int | None
    id: str | None
    names: list[str] = field(default_factory=list)
    arguments: str = ""

    @property
    def name(self) -> str:
        """The name put together; a repeated one once."""
        return self.names[0] if len(set(self.names)) == 1 else "".join(self.names)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was called: gaps in the numbering look like this."""
        return not self.name.strip() and self.arguments.strip() in ("", "{}")

    @property
    def has_all_arguments(self) -> bool:
        try:
            return isinstance(json_text.decode(self.arguments.encode(errors="replace")), dict)
        except ValueError:
            return False


class ToolCallCollector:
    """Distinguishes calls by id, then by index, then by the order in which they come.

    No provider's numbering is relied on: some give no index, some the same to all calls, some count
    from 1 or with gaps, some repeat a call's name or change its id with every piece.
    """

    def __init__(self) -> None:
        self._calls: list[ToolCallParts] = []

    def add(self, deltas: tuple[ToolCallDelta, ...]) -> None:
        """Add the pieces of one chunk."""
        for delta in deltas:
            call = self._continued(delta, alone=len(deltas) == 1)
            if call is None:
                call = ToolCallParts(delta.index, delta.id)
                self._calls.append(call)
            call.id = call.id or delta.id
            if delta.name:
                call.names.append(delta.name)
            call.arguments += delta.arguments

    def calls(self, offered_tools: Set[str] = frozenset()) -> list[ToolCallParts]:
        """The calls by index if each has its own, otherwise in the order in which they began."""
        called = [
            one for call in self._calls if not call.is_empty for one in _split(call, offered_tools)
        ]
        numbered = {call.index: call for call in called if call.index is not None}
        if len(numbered) == len(called):
            return [numbered[index] for index in sorted(numbered)]
        return called

    def _continued(self, delta: ToolCallDelta, *, alone: bool) -> ToolCallParts | None:
        """The call that a piece continues; none if it begins one."""
        call = self._of_same_id(delta) or self._at_place(delta, alone=alone)
        return None if call is None or _begins_another(call, delta) else call

    def _of_same_id(self, delta: ToolCallDelta) -> ToolCallParts | None:
        if delta.id is None:
            return None
        same = [
            call
            for call in self._calls
            if call.id == delta.id and delta.index in (None, call.index)
        ]
        return same[-1] if same else None

    def _at_place(self, delta: ToolCallDelta, *, alone: bool) -> ToolCallParts | None:
        """The call to which the index of a piece points, or without one its place in its chunk."""
        if delta.index is not None:
            same = [call for call in self._calls if call.index == delta.index]
            return same[-1] if same else None
        if alone:
            return self._calls[-1] if self._calls else None
        return self._calls[delta.position] if delta.position < len(self._calls) else None


def _begins_another(call: ToolCallParts, delta: ToolCallDelta) -> bool:
    """Whether a piece begins a new call, although its place is that of one that has begun."""
    if delta.name is None:
        return False
    if delta.id is not None and call.id is not None and delta.id != call.id:
        return True
    if not call.name:
        return False
    if not call.arguments:
        # It may be the rest of the name: calls without arguments are told apart by `_split`.
        return False
    return delta.name != call.name or (bool(delta.arguments.strip()) and call.has_all_arguments)


def _split(call: ToolCallParts, offered_tools: Set[str]) -> Iterator[ToolCallParts]:
    """The calls that one is: several where tools without arguments were called under one number."""
    names = call.names
    if "".join(names) in offered_tools:
        yield replace(call, names=["".join(names)])
    elif call.name not in offered_tools and offered_tools >= set(names):
        yield from (replace(call, names=[name], arguments="") for name in names[:-1])
        yield replace(call, names=names[-1:])
    else:
        yield call
