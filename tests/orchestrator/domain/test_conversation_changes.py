"""The difference that hooks make: as long as what is new, and it gives their conversation back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events.turn import (
    ConversationProcessed,
    EditedMessage,
    KeptMessages,
    NewMessages,
)
from contracts.upcasts import upcast
from services.orchestrator.domain.conversation_changes import (
    OtherConversationError,
    changed,
    difference,
    digest,
)
from tests.story import WRITER

Messages = list[dict[str, Any]]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "name": "user", "content": text}


CALL = {
    "role": "assistant",
    "name": "Writer",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "n", "arguments": "{}"}}],
}
LONG = [user(f"{number}: {'word ' * 48_000}") for number in range(5)]
BEFORE = [*LONG, CALL, {**user("found"), "role": "tool", "tool_call_id": "c"}]


def edited(messages: Messages, edit: Callable[[str], str]) -> Messages:
    return [{**one, "content": edit(one["content"])} if one["content"] else one for one in messages]


HOOKS: dict[str, tuple[Messages, int]] = {
    "nothing": (BEFORE, 0),
    "a message before all": ([user("Be brief."), *BEFORE], 200),
    "a message after all": ([*BEFORE, user("Be brief.")], 200),
    "a message in between": ([*BEFORE[:3], user("Be brief."), *BEFORE[3:]], 200),
    "no first message": (BEFORE[1:], 0),
    "only the newest": (BEFORE[-3:], 0),
    "nothing is left": ([], 0),
    "another order": (list(reversed(BEFORE)), 0),
    "a message twice": ([*BEFORE, BEFORE[0]], 0),
    "a word at the end of each": (edited(BEFORE, lambda text: f"{text} Thanks."), 2_000),
    "a word at the beginning of each": (edited(BEFORE, lambda text: f"Please: {text}"), 2_000),
    "a word in the middle of each": (
        edited(BEFORE, lambda text: f"{text[:100_000]}!{text[100_000:]}"),
        2_000,
    ),
    "a name in each, and a message before": (
        [user("x"), *edited(BEFORE, lambda text: text.replace("0: ", "Ana: "))],
        2_000,
    ),
    "each other text": (edited(BEFORE, lambda text: f"{len(text)}"), 2_000),
}


@pytest.mark.parametrize(("after", "most"), HOOKS.values(), ids=HOOKS.keys())
def test_a_difference_is_as_long_as_what_is_new_and_gives_the_conversation_back(
    after: Messages, most: int
) -> None:
    changes = difference(BEFORE, after)
    assert changed(BEFORE, changes, digest(BEFORE)) == after
    new = [one for one in changes if not isinstance(one, KeptMessages)]
    assert len(json.dumps([one.model_dump() for one in new])) <= most + 2


def test_what_is_the_same_in_a_row_is_one_change() -> None:
    assert difference(BEFORE, BEFORE) == [KeptMessages(first=0, count=len(BEFORE))]
    assert difference(BEFORE, [*BEFORE, user("a"), user("b")])[1:] == [
        NewMessages(messages=[user("a"), user("b")])
    ]


def test_an_edit_keeps_the_beginning_and_the_end_of_a_message() -> None:
    text = "a" * 300 + "4711" + "b" * 300
    after = [user(text.replace("4711", "****"))]
    assert difference([user(text)], after) == [
        EditedMessage(index=0, start=300, end=300, text="****")
    ]


TEXTS = st.text(alphabet="ab", max_size=6).map(lambda text: text * 60)
CONVERSATIONS = st.lists(TEXTS.map(user), max_size=8)


@given(CONVERSATIONS, CONVERSATIONS)
def test_any_conversation_comes_back_from_its_difference_to_any_other(
    before: Messages, after: Messages
) -> None:
    changes = difference(before, after)
    assert changed(before, changes, digest(before)) == after
    recorded = ConversationProcessed(
        turn=1, agent=WRITER, changes=changes, base=digest(before), prompt=""
    )
    again = ConversationProcessed.model_validate_json(recorded.model_dump_json())
    assert changed(before, again.changes, again.base) == after


def test_a_difference_to_another_conversation_is_refused() -> None:
    changes = difference(BEFORE, BEFORE[1:])
    with pytest.raises(OtherConversationError):
        changed(BEFORE[1:], changes, digest(BEFORE))


def test_all_messages_of_the_first_version_are_new_ones() -> None:
    first = {"turn": 1, "agent": "Writer", "messages": [user("x")], "prompt": "You write."}
    body = upcast("turn.conversation_processed", 1, first, current=2)
    recorded = ConversationProcessed.model_validate(body)
    assert changed([user("anything")], recorded.changes, recorded.base) == [user("x")]
