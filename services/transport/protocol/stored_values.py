"""References of frames and payloads to the large values of which they have only the beginning. Pure."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from contracts.envelope import Envelope
from contracts.event_log import references
from contracts.events import Event
from contracts.events.human import UiToolRequested
from contracts.ids import ChatKey
from contracts.large_values import StoredValue
from contracts.wire.frames import StoredValueLink

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether a text is the SHA-256 of a value, in hex."""
    return _DIGEST.fullmatch(text) is not None


def links(envelope: Envelope, event: Event | None) -> tuple[StoredValueLink, ...]:
    """The values of an event; `path` is a JSON Pointer into its body."""
    return tuple(_link(envelope.key, one) for one in references(envelope, event))


def payload_of(envelope: Envelope, requested: UiToolRequested) -> Mapping[str, Any]:
    """The payload of a component, which gets the links to its large values as `stored_values`.

    Their `path` is a JSON Pointer into the payload.
    """
    prefix = "/payload"
    own = [
        one.model_copy(update={"path": one.path.removeprefix(prefix)}).model_dump()
        for one in links(envelope, requested)
        if one.path == prefix or one.path.startswith(f"{prefix}/")
    ]
    return {**requested.payload, "stored_values": own} if own else requested.payload


def _link(key: ChatKey, one: StoredValue) -> StoredValueLink:
    app, chat = quote(key.app, safe=""), quote(key.chat, safe="")
    return StoredValueLink(
        path=one.path,
        digest=one.digest,
        size=one.size,
        media_type=one.media_type,
        url=f"/api/chats/{app}/{chat}/values/{one.digest}",
    )
