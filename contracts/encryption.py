"""Encryption of what users and agents say: which parts of a message are sealed, and in which form.

Off unless a process has ciphers (`use`). Then the members of an event's body that PLAIN_FIELDS does
not name are one ciphertext in its envelope, `sealed`; commands, streamed text, lookups and other
values of JSON are `{"sealed": ...}` as a whole. What is needed for order, routing, ownership, counts
and costs stays readable. Each ciphertext is bound to its chat and its place by additional data, so
that it cannot be moved. Pure but for the one pair of ciphers that a process has.

A reader without the key of a chat gets PLACEHOLDERS of the same type where the content was.
"""

from collections.abc import Mapping
from typing import Any, Protocol, get_origin

from pydantic import BaseModel, TypeAdapter

from contracts.ids import AppId, ChatId, ChatKey

ERASED_TEXT = "[erased]"
"""What a text reads of which there is no key."""

PLAIN_FIELDS = frozenset(
    {
        *("user_id", "seed", "client_request_id", "workflow_version", "tools_version"),
        *("before_chat", "after_chat", "before", "now", "attachment_id", "size_bytes"),
        *("content_type", "digest", "intent", "through_turn", "tokens_before", "turn", "call"),
        *("agent", "while_running", "command", "turns", "max_turns", "waits", "code", "by"),
        *("tokens", "model", "provider", "finish_reason", "response_id", "hidden", "max_tokens"),
        *("tool_call_id", "name", "occasion", "component", "display", "idempotency_key"),
        *("arguments_digest", "effect", "attempt", "reason", "approval", "status", "final"),
        *("resolved_by", "handoff", "duration", "cost", "cached", "model_name", "auto_tool_mode"),
        *("question_id", "ordinal", "expires_at", "audience", "escalation", "send_links", "doubt"),
        *("to", "by_default", "role", "approved", "always", "ui_tool_id", "log_event_type"),
        *("level", "grace_seconds", "runner", "previous", "created_at", "ended_at", "base"),
        *("context_window", "ends_on_failure", "origin", "seq", "segments", "resumable"),
        *("to_seq", "kind", "estimated", "offset", "end_reason", "speaker", "turn_started_at"),
        *("turn_seq", "last_artifact", "has_title"),
    }
)
"""Members of event bodies that say nothing of what was said; a member that a release adds is sealed."""
SAID_IN_PLAIN_FIELDS: Mapping[str, frozenset[str]] = {
    "chat.cancelled": frozenset({"reason"}),
    "turn.stop_requested": frozenset({"reason"}),
}
"""By event type: members with a plain name that users write."""
NESTED: Mapping[str, frozenset[str]] = {"chat.rewound": frozenset({"restored"})}
"""By event type: members that are objects, whose own members are readable or sealed."""
WHOLLY_PLAIN = frozenset(
    {
        *("chat.erased", "chat.user_messages_consumed", "turn.usage_recorded", "run.claimed"),
        *("budget.warned", "budget.exceeded"),
    }
)

_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_NONE: frozenset[str] = frozenset()
_EMPTY: Mapping[Any, Any] = {list: [], dict: {}, int: 0, float: 0.0, bool: False}


class Ciphers(Protocol):
    """The keys of chats. `seal` and `open` do no I/O: a key is loaded before."""

    async def load(self, scope: ChatKey) -> None:
        """Know the key of a chat, or that there is none. Raises what the storage of keys raises."""
        ...

    async def ensure(self, scope: ChatKey) -> None:
        """Know the key of a chat, which is created if need be."""
        ...

    async def destroy(self, scope: ChatKey) -> None:
        """Remove the key of a chat for good: what it sealed is never read again."""
        ...

    def seal(self, scope: ChatKey, place: str, data: bytes) -> str:
        """The ciphertext as text. Raises KeyNotLoadedError where the key was not loaded before."""
        ...

    def open(self, scope: ChatKey, place: str, sealed: str) -> bytes | None:
        """The data; None without the key. Raises ValueError where it is not from this place."""
        ...


class KeyNotLoadedError(Exception):
    """A program seals for a chat whose key it has not loaded: a mistake in the program."""


def app_scope(app: AppId) -> ChatKey:
    """The scope of what belongs to an app and no chat of it."""
    return ChatKey(app, ChatId(""))


_ciphers: Ciphers | None = None


def use(ciphers: Ciphers | None) -> None:
    """From now on this process seals and opens with these; None: it seals nothing."""
    global _ciphers
    _ciphers = ciphers


def is_on() -> bool:
    return _ciphers is not None


async def load(*scopes: ChatKey) -> None:
    """Make the keys of chats known, before what is said in them is read. Raises what loads them."""
    if _ciphers is not None:
        for scope in scopes:
            await _ciphers.load(scope)


async def ensure(scope: ChatKey) -> None:
    """Make the key of a chat known, before something that is said in it is stored."""
    if _ciphers is not None:
        await _ciphers.ensure(scope)


async def destroy(scope: ChatKey) -> None:
    """Remove the key of a chat for good."""
    if _ciphers is not None:
        await _ciphers.destroy(scope)


# -- events ----------------------------------------------------------------------------------------


def split_body(kind: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of an event's body that stay readable, and those that are sealed."""
    if kind in WHOLLY_PLAIN:
        return dict(body), {}
    said, nested = SAID_IN_PLAIN_FIELDS.get(kind, _NONE), NESTED.get(kind, _NONE)
    plain = {name: body[name] for name in body if name in PLAIN_FIELDS and name not in said}
    content = {name: body[name] for name in body if name not in plain}
    for name in nested & content.keys():
        if isinstance(content[name], dict):
            plain[name], content[name] = split_body("", content[name])
    return plain, content


def sealed_body(
    scope: ChatKey, place: str, kind: str, body: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """What is stored of an event's body: its readable members, and the others as a ciphertext.

    No ciphertext where nothing is to be sealed. Raises KeyNotLoadedError.
    """
    if _ciphers is None:
        return dict(body), None
    plain, content = split_body(kind, body)
    if not content:
        return plain, None
    return plain, _ciphers.seal(scope, place, _JSON.dump_json(content))


def opened_body(
    scope: ChatKey, place: str, body: Mapping[str, Any], sealed: str, model: type[BaseModel] | None
) -> tuple[dict[str, Any], bool]:
    """The whole body, and whether its content was readable.

    Otherwise it has placeholders, of the types that the event's model asks for. Raises ValueError.
    """
    data = None if _ciphers is None else _ciphers.open(scope, place, sealed)
    if data is None:
        return {**placeholders(model), **body}, False
    content = _JSON.validate_json(data)
    both = {name: {**body[name], **content[name]} for name in content.keys() & body.keys()}
    return {**body, **content, **both}, True


def placeholders(model: type[BaseModel] | None) -> dict[str, Any]:
    """Values of the right types for the members that an event must have."""
    if model is None:
        return {}
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if field.is_required():
            kind = get_origin(field.annotation) or field.annotation
            if kind is str:
                found[name] = ERASED_TEXT
            elif kind in _EMPTY:
                found[name] = _EMPTY[kind]
    return found


# -- other values ----------------------------------------------------------------------------------

_PREFIX, _SUFFIX = b'{"sealed":"', b'"}'


def seal_json(scope: ChatKey, place: str, data: bytes) -> bytes:
    """JSON as it is stored: sealed as a whole, if this process seals. Raises KeyNotLoadedError."""
    if _ciphers is None:
        return data
    return _PREFIX + _ciphers.seal(scope, place, data).encode() + _SUFFIX


def open_json(scope: ChatKey, place: str, data: bytes) -> bytes | None:
    """The JSON that `seal_json` was given; None without the key. Raises ValueError."""
    if not data.startswith(_PREFIX):
        return data
    sealed = data[len(_PREFIX) : -len(_SUFFIX)].decode()
    return None if _ciphers is None else _ciphers.open(scope, place, sealed)


def seal_text(scope: ChatKey, place: str, text: str) -> str:
    """A text as it is stored in a document. Raises KeyNotLoadedError."""
    if _ciphers is None or not text:
        return text
    return MARK + _ciphers.seal(scope, place, text.encode())


def open_text(scope: ChatKey, place: str, stored: str) -> str:
    """The text that `seal_text` was given; ERASED_TEXT without the key. Raises ValueError."""
    if not stored.startswith(MARK):
        return stored
    data = None if _ciphers is None else _ciphers.open(scope, place, stored.removeprefix(MARK))
    return ERASED_TEXT if data is None else data.decode()


def seal_bytes(scope: ChatKey, place: str, data: bytes) -> bytes:
    """Bytes as they are stored in an object or a binary field. Raises KeyNotLoadedError."""
    return data if _ciphers is None else (MARK + _ciphers.seal(scope, place, data)).encode()


def open_bytes(scope: ChatKey, place: str, stored: bytes) -> bytes | None:
    """The bytes that `seal_bytes` was given; None without the key. Raises ValueError."""
    if not stored.startswith(MARK.encode()):
        return stored
    sealed = stored[len(MARK) :].decode()
    return None if _ciphers is None else _ciphers.open(scope, place, sealed)


MARK = "sealed:"
"""The beginning of a text that is sealed."""
