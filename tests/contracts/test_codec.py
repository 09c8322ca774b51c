import json
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import (
    Origin,
    UnknownEventTypeError,
    UnreadableMessageError,
    decode,
    encode,
    open_event,
    seal,
)
from contracts.envelope import Envelope, event_id
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted, UserMessageReceived
from contracts.events.parts import DataPart
from contracts.events.turn import ToolReturned
from contracts.ids import AgentName, AppId, ChatId, ChatKey, RunnerId, Seq, UserId, WorkflowName

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
KEY = ChatKey(AppId("acme.corp"), ChatId("chat 1"))
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ORIGIN = Origin(
    KEY,
    WorkflowName("Generator"),
    NOON,
    cause="command-1",
    actor="agent:Planner",
    runner=RunnerId("r1"),
    trace=TRACE,
)
COMPLETED = ChatCompleted(reason="terminate", turns=3)
SECRET = "sk-very-secret"

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def sealed(event: Event) -> Envelope:
    return seal(event, Seq(7), ORIGIN).envelope


def raw(**changes: Any) -> bytes:
    envelope = json.loads(encode(sealed(COMPLETED)))
    return json.dumps({**envelope, **changes}).encode()


@given(st.dictionaries(text, values, max_size=5), text)
def test_an_event_comes_back_as_it_was_sealed(metadata: dict[str, Any], message: str) -> None:
    event = BusinessLogged(log_event_type="A", message=message, metadata=metadata)
    envelope = sealed(event)
    assert decode(encode(envelope)) == envelope
    assert open_event(decode(encode(envelope))) == event


@given(values)
def test_data_of_a_tool_comes_back_with_its_empty_values(data: Any) -> None:
    event = ToolReturned(
        turn=1,
        call=0,
        agent=AgentName("Planner"),
        tool_call_id="call-1",
        name="look",
        status="ok",
        parts=[DataPart(data=data)],
    )
    assert open_event(decode(encode(sealed(event)))) == event


def test_encoding_twice_gives_the_same_bytes() -> None:
    data = encode(sealed(COMPLETED))
    assert encode(decode(data)) == data


def test_a_sealed_event_says_who_where_when_and_why() -> None:
    envelope = sealed(COMPLETED)
    assert envelope.key == KEY
    assert envelope.event_id == event_id(KEY, Seq(7))
    assert (envelope.type, envelope.version, envelope.category) == ("chat.completed", 1, "runtime")
    assert (envelope.seq, envelope.time, envelope.cause) == (7, NOON, "command-1")
    assert (envelope.actor, envelope.runner, envelope.trace) == ("agent:Planner", "r1", TRACE)
    assert envelope.body == {"reason": "terminate", "turns": 3}


def test_an_event_id_is_derived_from_its_place_alone() -> None:
    assert event_id(KEY, Seq(1)) == event_id(KEY, Seq(1))
    places = [
        (KEY, 1),
        (KEY, 11),
        (ChatKey(AppId("acme"), ChatId("c.1")), 1),
        (ChatKey(AppId("acme.c"), ChatId("1")), 1),
    ]
    assert len({event_id(key, Seq(seq)) for key, seq in places}) == len(places)


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    envelope = decode(raw(shard=4, body={"reason": "terminate", "turns": 3, "mood": "good"}))
    assert open_event(envelope) == COMPLETED


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"type": "chat.praised"}, "chat.praised v1"),
        ({"version": 2}, "chat.completed v2"),
    ],
)
def test_an_event_of_a_newer_release_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownEventTypeError, match=named):
        open_event(decode(raw(**changes)))


def test_an_unknown_type_is_unreadable_too() -> None:
    assert issubclass(UnknownEventTypeError, UnreadableMessageError)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "message"),
        (b"{", "message"),
        (b"\xff\xfe", "message"),
        (b"null", "message"),
        (b"[]", "message"),
        (raw(seq=0), "seq"),
        (raw(seq="seven"), "seq"),
        (raw(version=0), "version"),
        (raw(category="private"), "category"),
        (raw(time="noon"), "time"),
        (raw(time="2026-11-23T12:00:00"), "time: Value error, must carry a time zone"),
        (raw(body=[]), "body"),
        (raw(app_id=None), "app_id"),
    ],
)
def test_what_is_no_envelope_is_refused_with_the_field(data: bytes, field: str) -> None:
    with pytest.raises(UnreadableMessageError, match=f"^no event envelope: (.*; )?{field}"):
        decode(data)


def test_a_body_that_does_not_fit_is_refused_with_its_event_and_fields() -> None:
    envelope = decode(raw(body={"reason": 5}))
    with pytest.raises(UnreadableMessageError) as refused:
        open_event(envelope)
    assert str(refused.value).startswith(f"{envelope.event_id}: reason: ")
    assert "turns: Field required" in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        raw(seq=SECRET),
        raw(time=SECRET, body=SECRET),
        SECRET.encode(),
        raw(body={"reason": [SECRET], "turns": SECRET}),
    ],
)
def test_a_refusal_leaks_no_value_into_a_log(data: bytes) -> None:
    with pytest.raises(UnreadableMessageError) as refused:
        open_event(decode(data))
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_time_is_kept_in_utc_to_the_microsecond() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=-7)))
    envelope = decode(raw(time=there.isoformat()))
    assert envelope.time == NOON
    assert envelope.time.utcoffset() == timedelta(0)


def test_an_envelope_and_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        sealed(COMPLETED).seq = Seq(8)  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValueError, match="frozen"):
        COMPLETED.turns = 8  # type: ignore[misc]  # the point of the test


def test_text_of_any_script_survives() -> None:
    said = UserMessageReceived(user_id=UserId("josé"), text="täglich 🌱 \u2028 \x00 \r\n")
    assert open_event(decode(encode(sealed(said)))) == said
