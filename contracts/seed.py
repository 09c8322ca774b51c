"""What is derived from a chat's name, the same for ever: its seed, and the keys of its turns."""

from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5


def cache_seed(app_id: str, chat_id: str) -> int:
    """The first four bytes, big-endian, of SHA-256 over `app:chat`; over the chat alone without an app."""
    named = f"{app_id}:{chat_id}" if app_id else chat_id
    return int.from_bytes(sha256(named.encode()).digest()[:4], "big")


def turn_key(chat_id: str, turn: int) -> str:
    """The key under which a turn's structured output is given to a tool, once."""
    return f"turn-{uuid5(NAMESPACE_URL, f'{chat_id}:{turn}').hex}"
