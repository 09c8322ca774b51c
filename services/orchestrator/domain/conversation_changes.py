"""What hooks change in a conversation, as a difference that is as long as what is new in it. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from contracts.events.turn import EditedMessage, KeptMessages, MessageChange, NewMessages

MIN_KEPT_CHARS = 200
"""How much of a message an edit must keep; otherwise the message is a new one."""

Ag2Message = Mapping[str, Any]
"""A message in strict AG2 format."""


class OtherConversationError(ValueError):
    """The conversation is not the one that hooks changed: another release builds it differently."""


def difference(
    before: Sequence[Ag2Message], after: Sequence[dict[str, Any]]
) -> list[MessageChange]:
    """The changes that make `after` of `before`; both are JSON values.

    In time and size linear in the conversation: each message is found by its content, or compared
    with the few that it may have been.
    """
    places: dict[str, int] = {}
    for place, message in enumerate(before):
        places.setdefault(_canonical(message), place)
    changes: list[MessageChange] = []
    following = 0
    for number, message in enumerate(after):
        key = _canonical(message)
        if following < len(before) and _canonical(before[following]) == key:
            found: int | None = following
        else:
            found = places.get(key)
        if found is not None:
            _keep(changes, found)
            following = found + 1
            continue
        aligned = dict.fromkeys((following, number, number + len(before) - len(after)))
        edits = [_edit(before, place, message) for place in aligned if 0 <= place < len(before)]
        edit = min((one for one in edits if one is not None), key=_new_chars, default=None)
        if edit is None:
            _add(changes, message)
        else:
            changes.append(edit)
            following = edit.index + 1
    return changes


def changed(
    before: Sequence[Ag2Message], changes: Iterable[MessageChange], base: str
) -> list[Ag2Message]:
    """The conversation after changes of the one whose digest is `base`.

    Raises OtherConversationError.
    """
    steps = list(changes)
    if any(not isinstance(one, NewMessages) for one in steps) and digest(before) != base:
        raise OtherConversationError("the conversation before the turn is not the recorded one")
    messages: list[Ag2Message] = []
    for step in steps:
        match step:
            case KeptMessages(first=first, count=count):
                messages += before[first : first + count]
            case EditedMessage(index=index, start=start, end=end, text=text):
                old = before[index]
                content = str(old["content"])
                edited = f"{content[:start]}{text}{content[len(content) - end :]}"
                messages.append({**old, "content": edited})
            case NewMessages(messages=new):
                messages += new
    return messages


def digest(messages: Sequence[Ag2Message]) -> str:
    """SHA-256 of a conversation, in hex."""
    whole = sha256()
    for message in messages:
        whole.update(_canonical(message).encode() + b"\n")
    return whole.hexdigest()


def _canonical(message: Ag2Message) -> str:
    return json.dumps(message, sort_keys=True)


def _keep(changes: list[MessageChange], place: int) -> None:
    match changes[-1:]:
        case [KeptMessages(first=first, count=count)] if first + count == place:
            changes[-1] = KeptMessages(first=first, count=count + 1)
        case _:
            changes.append(KeptMessages(first=place, count=1))


def _add(changes: list[MessageChange], message: dict[str, Any]) -> None:
    match changes[-1:]:
        case [NewMessages(messages=messages)]:
            messages.append(message)
        case _:
            changes.append(NewMessages(messages=[message]))


def _edit(
    before: Sequence[Ag2Message], place: int, message: dict[str, Any]
) -> EditedMessage | None:
    """The edit of one message that makes another; None where they have too little in common."""
    old, new = before[place].get("content"), message.get("content")
    if not (isinstance(old, str) and isinstance(new, str)):
        return None
    if {**before[place], "content": ""} != {**message, "content": ""}:
        return None
    start = _common_start(old, new)
    end = min(_common_start(old[::-1], new[::-1]), len(old) - start, len(new) - start)
    if start + end < MIN_KEPT_CHARS:
        return None
    return EditedMessage(index=place, start=start, end=end, text=new[start : len(new) - end])


def _new_chars(edit: EditedMessage) -> int:
    return len(edit.text)


def _common_start(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
