"""Large values leave a message of the log small, and come back whole from their references."""

import json
from typing import Any

import pytest

from contracts import codec, event_log
from contracts.codec import Origin
from contracts.event_log import EMPTY, Decision
from contracts.events import EVENT_TYPES, Event
from contracts.events.human import UiToolRequested
from contracts.events.parts import DataPart, NativeAnswer, NativeBlock, NativeText, TextPart
from contracts.events.turn import (
    ConversationProcessed,
    EditedMessage,
    KeptMessages,
    ModelRequested,
    ModelResponded,
    NewMessages,
    ToolReturned,
    TurnCompleted,
    VariablesChanged,
)
from contracts.ids import QuestionId
from contracts.large_values import FIELDS, INLINE_BYTES, MEMBERS, LargeValue
from contracts.subjects import event
from tests.story import KEY, NEWSROOM, NOON, WRITER

ORIGIN = Origin(KEY, NEWSROOM.name, NOON, "c-1")
MEGABYTES = "é" * 1_500_000


def changed(**values: Any) -> VariablesChanged:
    return VariablesChanged(turn=1, agent=WRITER, changed=values)


def returned(*parts: TextPart | DataPart) -> ToolReturned:
    return ToolReturned(
        turn=1, call=0, agent=WRITER, tool_call_id="c", name="n", status="ok", parts=list(parts)
    )


USERS = {"role": "user", "name": "user"}

EVENTS: dict[str, Event] = {
    "a text": changed(page=MEGABYTES),
    "a text between others": changed(a=1, page=MEGABYTES, b=None),
    "a table": changed(rows=[{"id": n, "name": "x" * 30} for n in range(40_000)]),
    "many values of a hundred thousand bytes": changed(
        **{f"n{n}": "x" * 100_000 for n in range(30)}
    ),
    "a hundred thousand small values": changed(**{f"n{n}": n for n in range(100_000)}),
    "a name with separators": changed(**{"a/b~c": MEGABYTES, "": MEGABYTES, "*": MEGABYTES}),
    "a deep value": changed(tree={"a": [{"b": [MEGABYTES]}]}),
    "half of the limit, twice": changed(a="x" * (INLINE_BYTES // 2), b="y" * (INLINE_BYTES // 2)),
    "text of a result": returned(TextPart(text="a"), TextPart(text=MEGABYTES)),
    "data of a result": returned(DataPart(data=[MEGABYTES] * 2)),
    "signed thinking": ModelResponded(
        turn=1,
        call=0,
        agent=WRITER,
        native=NativeAnswer(
            api="anthropic",
            parts=[
                NativeBlock(block={"type": "thinking", "thinking": MEGABYTES, "signature": "s"}),
                NativeText(chars=0, own={"thoughtSignature": MEGABYTES}),
            ],
        ),
    ),
    "a payload": UiToolRequested(
        question_id=QuestionId("q"),
        turn=1,
        agent=WRITER,
        tool_call_id="c",
        ordinal=0,
        ui_tool_id="table",
        component="Table",
        payload={"title": "Rain", "rows": [[n] * 9 for n in range(20_000)]},
    ),
    "a prompt": ModelRequested(
        turn=1, call=0, agent=WRITER, prompt=[MEGABYTES], parts=[TextPart(text="x")], digest="d"
    ),
    "messages": ConversationProcessed(
        turn=1,
        agent=WRITER,
        prompt="x",
        changes=[NewMessages(messages=[USERS | {"content": "y" * 240_000}] * 5)],
    ),
    "a thousand messages": ConversationProcessed(
        turn=1,
        agent=WRITER,
        prompt="x",
        changes=[
            NewMessages(messages=[USERS | {"content": "y" * 1_000}]),
            KeptMessages(first=0, count=1),
        ]
        * 1_000,
    ),
    "an edit": ConversationProcessed(
        turn=1,
        agent=WRITER,
        prompt="x",
        changes=[EditedMessage(index=0, start=1, end=1, text=MEGABYTES)],
    ),
    "an answer": ModelResponded(turn=1, call=0, agent=WRITER, text=MEGABYTES),
}


def sealed(*events: Event) -> Decision:
    return event_log.seal(events, EMPTY, [ORIGIN] * len(events))


@pytest.mark.parametrize("large", EVENTS.values(), ids=EVENTS.keys())
def test_a_large_event_is_a_small_message_and_comes_back_whole(large: Event) -> None:
    decision = sealed(large)
    assert len(decision.data) <= INLINE_BYTES
    (read,) = event_log.read(event(KEY, large.category), decision.data).events
    assert read.event is not None  # with previews, for readers that need no more
    assert read.event != large
    assert len(read.event.model_dump_json()) <= INLINE_BYTES
    values = {value.reference.digest: value.data for value in decision.large}
    assert read.with_values(values).event == large
    assert read.size > len(large.model_dump_json().encode()) // 2


@pytest.mark.parametrize("large", EVENTS.values(), ids=EVENTS.keys())
def test_what_is_sealed_twice_has_the_same_bytes(large: Event) -> None:
    assert sealed(large) == sealed(large)
    assert sealed(large).large == sealed(large).large


def test_the_largest_values_of_a_message_are_kept_apart_and_small_ones_stay() -> None:
    decision = sealed(changed(small="x" * 100_000, large=MEGABYTES))
    (one,) = decision.events
    assert one.envelope.values is not None
    assert [value.path for value in one.envelope.values] == ["/changed/large"]
    assert one.envelope.body["changed"]["small"] == "x" * 100_000
    assert one.envelope.body["changed"]["large"] == "é" * 1_000 + " [cut: 1500000 characters]"


def test_a_server_that_takes_smaller_messages_gets_smaller_ones() -> None:
    event_of_page = changed(a="x" * 90_000, b="y" * 90_000)
    decision = event_log.seal([event_of_page], EMPTY, [ORIGIN], inline_bytes=100_000)
    assert len(decision.data) <= 100_000
    assert len(decision.large) == 1


def test_the_events_of_one_message_count_together() -> None:
    text = "x" * (INLINE_BYTES // 2 + 1)
    decision = sealed(
        ModelResponded(turn=1, call=0, agent=WRITER, text=text),
        TurnCompleted(turn=1, agent=WRITER, text=text),
    )
    assert len(decision.data) <= INLINE_BYTES
    assert len(decision.large) == 1
    event_log.read(event(KEY, "runtime"), decision.data)  # the chain holds


def test_an_event_that_is_not_too_large_is_as_it_always_was() -> None:
    one = sealed(changed(page="x" * (INLINE_BYTES - 5_000))).events[0]
    assert one.envelope.values is None
    assert one.large == ()
    assert "values" not in json.loads(one.data)


@pytest.mark.parametrize(
    "data",
    [{}, {"wrong": b""}],
    ids=["no bytes", "those of another value"],
)
def test_an_event_without_its_values_is_not_whole(data: dict[str, bytes]) -> None:
    (one,) = sealed(EVENTS["a text"]).events
    with pytest.raises(LookupError):
        one.with_values(data)


def test_a_value_of_another_type_than_its_place_is_refused() -> None:
    (one,) = sealed(EVENTS["an answer"]).events
    assert one.envelope.values is not None
    as_json = one.envelope.values[0].model_copy(update={"media_type": "application/json"})
    envelope = one.envelope.model_copy(update={"values": (as_json,)})
    (other,) = event_log.read(event(KEY, "runtime"), codec.encode(envelope)).events
    with pytest.raises(ValueError, match="text"):
        other.with_values({as_json.digest: b"[1]"})


def test_equal_values_are_one_object() -> None:
    assert LargeValue.of_json([1, "é"]) == LargeValue.of_json([1, "é"])
    assert LargeValue.of_json("a").reference != LargeValue.of_json("b").reference


def test_every_place_of_a_large_value_is_a_field_of_its_event() -> None:
    for patterns in (MEMBERS, FIELDS):
        for kind, paths in patterns.items():
            fields = EVENT_TYPES[kind].model_fields
            assert {path.split("/")[0] for path in paths} <= set(fields)
