"""Values derived from a chat's id, the same in every release: its cache seed and keys of turns."""

from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5


def cache_seed(app_id: str, chat_id: str) -> int:
    """The first four bytes, big-endian, of SHA-256 over `app:chat`; over the chat alone without an app."""
    named = f"{app_id}:{chat_id}" if app_id else chat_id
    return int.from_bytes(sha256(named.encode()).digest()[:4], "big")


def turn_key(chat_id: str, turn: int) -> str:
    """The idempotency key under which a tool gets a turn's structured output."""
    return f"turn-{uuid5(NAMESPACE_URL, f'{chat_id}:{turn}').hex}"
