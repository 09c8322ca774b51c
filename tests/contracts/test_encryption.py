"""What of an event is sealed, what stays readable, and what a reader without the key gets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import codec, encryption, event_log
from contracts.chat_snapshot import ChatSnapshot, Fold
from contracts.codec import UnreadableMessageError
from contracts.encryption import ERASED_TEXT, PLAIN_FIELDS
from contracts.envelope import Envelope
from contracts.events import EVENT_TYPES
from contracts.ids import AppId, ChatId, ChatKey

EXAMPLES = sorted(Path("contracts/examples").glob("*.json"))
KEY = ChatKey(AppId("acme"), ChatId("c-1"))


class ReversedText:
    """Ciphers without any secret: what they seal is not to be read by chance, and has its place."""

    def __init__(self) -> None:
        self.has_key = True

    async def load(self, scope: ChatKey) -> None: ...

    async def ensure(self, scope: ChatKey) -> None: ...

    async def destroy(self, scope: ChatKey) -> None:
        del scope
        self.has_key = False

    def seal(self, scope: ChatKey, place: str, data: bytes) -> str:
        return f"{scope.app}/{scope.chat} {place}|{data[::-1].hex()}"

    def open(self, scope: ChatKey, place: str, sealed: str) -> bytes | None:
        if not self.has_key:
            return None
        found, _, text = sealed.rpartition("|")
        if found != f"{scope.app}/{scope.chat} {place}":
            raise ValueError("of another place")
        return bytes.fromhex(text)[::-1]


@pytest.fixture
def ciphers() -> Iterator[ReversedText]:
    ciphers = ReversedText()
    encryption.use(ciphers)
    yield ciphers
    encryption.use(None)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_event_is_the_same_after_it_was_sealed_and_opened(
    example: Path, ciphers: ReversedText
) -> None:
    plain = codec.decode(example.read_bytes())
    stored = codec.encode(plain)
    assert codec.decode(stored) == plain
    assert ciphers.has_key


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_without_the_key_an_event_has_its_type_and_its_numbers_and_folds(
    example: Path, ciphers: ReversedText
) -> None:
    plain = codec.decode(example.read_bytes())
    stored = codec.encode(plain)
    ciphers.has_key = False
    erased = codec.decode(stored)
    assert {**erased.model_dump(), "body": {}, "sealed": None} == {**plain.model_dump(), "body": {}}
    for name in PLAIN_FIELDS & plain.body.keys():
        if erased.type not in encryption.SAID_IN_PLAIN_FIELDS:
            assert erased.body[name] == plain.body[name]
    event = event_log.read_event(stored).event
    assert event is not None
    assert _folded(erased).totals == _folded(plain).totals


def _folded(envelope: Envelope) -> ChatSnapshot:
    fold = Fold(ChatSnapshot.before(envelope))
    fold.apply(envelope, codec.open_event(envelope))
    return fold.result()


def test_what_users_and_agents_say_is_in_no_stored_byte(ciphers: ReversedText) -> None:
    said = ("I changed my mind.", "Ana", "bakery", "Bakery")
    for example in EXAMPLES:
        plain = codec.decode(example.read_bytes())
        stored = codec.encode(plain)
        body, sealed = encryption.split_body(plain.type, plain.body)
        for name in sealed.keys() - encryption.NESTED.get(plain.type, frozenset()):
            assert f'"{name}":' not in stored.decode().partition('"body":')[2].partition("}")[0]
        assert not any(text in str(body.get("text", "")) for text in said)
    assert ciphers.has_key


def test_members_that_need_a_place_get_one_of_their_type() -> None:
    made = encryption.placeholders(EVENT_TYPES["ui.tool_answered"])
    assert made["response"] == {}
    assert encryption.placeholders(EVENT_TYPES["turn.model_requested"])["prompt"] == []
    assert encryption.placeholders(EVENT_TYPES["human.answered"])["text"] == ERASED_TEXT


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_type_of_event_can_be_read_without_what_is_sealed(kind: str) -> None:
    """Also of those members that need a value: a new type needs PLAIN_FIELDS or a placeholder."""
    model = EVENT_TYPES[kind]
    sealed = {
        name
        for name, field in model.model_fields.items()
        if field.is_required() and name in encryption.split_body(kind, {name: None})[1]
    }
    nested = encryption.NESTED.get(kind, frozenset())
    assert sealed - nested <= encryption.placeholders(model).keys()


def test_a_ciphertext_is_of_no_use_at_another_place(ciphers: ReversedText) -> None:
    plain = codec.decode(Path("contracts/examples/human.answered.v1.json").read_bytes())
    stored = codec.encode(plain)
    moved = stored.replace(f'"seq":{plain.seq}'.encode(), f'"seq":{plain.seq + 1}'.encode(), 1)
    with pytest.raises(UnreadableMessageError, match="of another place"):
        codec.decode(moved)
    assert ciphers.has_key


def test_values_that_were_stored_before_encryption_was_on_stay_readable(
    ciphers: ReversedText,
) -> None:
    assert encryption.open_json(KEY, "command", b'{"a":1}') == b'{"a":1}'
    assert encryption.open_text(KEY, "title", "A bakery") == "A bakery"
    assert encryption.open_bytes(KEY, "x", b"bytes") == b"bytes"
    assert ciphers.has_key
