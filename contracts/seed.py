"""The number that makes a chat's model calls repeatable: derived from its name, the same for ever."""

from hashlib import sha256


def cache_seed(app_id: str, chat_id: str) -> int:
    """The first four bytes, big-endian, of SHA-256 over `app:chat`; over the chat alone without an app."""
    named = f"{app_id}:{chat_id}" if app_id else chat_id
    return int.from_bytes(sha256(named.encode()).digest()[:4], "big")
