"""What is measured, the same for every contender: turns, starting and opening chats, CPU, memory, bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Turns:
    """Turns that were run: what they took together, and each of them."""

    seconds: float
    began: Sequence[float] = ()
    """When the user sent the message, on the monotonic clock of this machine."""
    first: Sequence[float] = ()
    """Seconds until the first text of the answer."""
    lags: Sequence[float] = field(default=(), repr=False)
    """Seconds from the model sending a piece of paced text to the user having it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What it took to open a chat, and the bytes that were read."""

    seconds: float
    size: int


class Contender(Protocol):
    """One system, running. Chats are named by ids that `chats` has made."""

    @property
    def name(self) -> str: ...

    @property
    def durability(self) -> str:
        """What is true of a turn once it has ended, for the reader of the table."""

    async def chats(self, count: int) -> list[str]:
        """New chats, each with its user present."""

    async def leave(self, chats: Sequence[str]) -> None:
        """The users of these chats leave; what is stored stays."""

    async def turns(self, chats: Sequence[str], turns: int) -> Turns:
        """So many turns in each of these chats, all chats at the same time."""

    async def start(self, count: int) -> list[float]:
        """Start so many chats at the same time, without a turn; the seconds that each took."""

    async def open(self, chat: str, tail: int | None = None) -> Opening:
        """Open a chat as somebody who has nothing of it.

        With `tail` only so many of its newest events, where the contender can do that.
        """

    async def stored(self) -> dict[str, int]:
        """Bytes on the disk of everything that is kept of all chats, by where it is."""

    async def settle(self) -> None:
        """Return once nothing that the turns caused is left to do."""

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far of every process that takes part, without model and users, by its name."""

    def memory(self) -> float:
        """Bytes in memory of the same processes, shared pages counted once."""
