"""A request of a conversation that has grown, shrunk or changed has the bytes of its messages."""

from ag2.events import BaseEvent, ModelMessage, ModelRequest, ModelResponse, TextInput
from fast_depends.pydantic.serializer import PydanticSerializer
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.prefix_bytes import RECENT, PrefixBytes
from services.orchestrator.agents.models.openai_wire.request import request_body


def event(number: int) -> BaseEvent:
    """Every third message is an empty answer, of which a provider gets nothing."""
    if number % 3 == 0:
        return ModelResponse(None)
    text = f"message {number}"
    return ModelRequest([TextInput(text)]) if number % 2 else ModelResponse(ModelMessage(text))


def body(events: list[BaseEvent], cache: MessageBytes) -> bytes:
    encode = PydanticSerializer.encode
    return request_body({"model": "m"}, ["p"], events, [], None, encode_data=encode, cache=cache)


EVENTS = [event(number) for number in range(4 * RECENT)]
OTHERS = [event(number) for number in range(1000, 1000 + 4 * RECENT)]


@given(
    st.lists(
        st.tuples(st.integers(0, len(EVENTS)), st.integers(0, len(OTHERS)), st.integers(0, 3)),
        max_size=8,
    )
)
def test_a_request_has_the_same_bytes_whatever_was_sent_before(
    requests: list[tuple[int, int, int]],
) -> None:
    cache = MessageBytes()
    for shared, other, first in requests:
        events = [*EVENTS[first : first + shared], *OTHERS[:other]]
        assert body(events, cache) == body(events, MessageBytes())


def test_older_messages_are_not_read_again() -> None:
    prefixes = PrefixBytes()
    pieces = [f"{number}".encode() for number in range(len(EVENTS))]
    assert prefixes.find(EVENTS) == (0, b"")
    prefixes.keep(EVENTS, 0, pieces)
    older = len(EVENTS) - RECENT
    assert prefixes.find(EVENTS) == (older, b",".join(pieces[:older]))
    longer = [*EVENTS, *OTHERS]
    assert prefixes.find(longer) == (older, b",".join(pieces[:older]))
    assert prefixes.find([*EVENTS[:5], *OTHERS]) == (5, b",".join(pieces[:5]))
    assert prefixes.find(OTHERS) == (0, b"")


def test_an_event_of_the_open_turn_that_changes_is_encoded_again() -> None:
    cache = MessageBytes()
    newest = ModelRequest([TextInput("first")])
    events = [*EVENTS, newest]
    assert b"first" in body(events, cache)
    newest.parts = [TextInput("second")]
    assert b"second" in body(events, cache)
    assert b"first" not in body(events, cache)


def test_the_size_is_limited_and_the_conversation_used_last_is_kept() -> None:
    prefixes = PrefixBytes(max_bytes=100)
    conversations = [[event(1000 * n + m) for m in range(RECENT + 1)] for n in range(4)]
    for events in conversations[:3]:
        prefixes.keep(events, 0, [b"x" * 40] * len(events))
        prefixes.find(conversations[0])
    assert prefixes.size == 80
    assert prefixes.find(conversations[0])[0] == 1
    assert prefixes.find(conversations[1]) == (0, b"")
    prefixes.keep(conversations[3], 0, [b"x" * 101] * (RECENT + 1))
    assert prefixes.size == 0


def test_a_conversation_without_messages_has_none() -> None:
    assert PrefixBytes().find([]) == (0, b"")
    assert b'"messages":[{' in body([], MessageBytes())
