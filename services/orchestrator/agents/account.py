"""Who asks a model, as its client knows them: whose chat it is, and what they are told of the call."""

from dataclasses import dataclass
from typing import Protocol

from ag2.context import ConversationContext

from contracts.ids import ChatKey

ACCOUNT = "mozaiks.account"
"""Under which the account of a call travels in AG2's dependencies."""


class Account(Protocol):
    """`key` is none where no chat asks."""

    @property
    def key(self) -> ChatKey | None: ...

    def speak_again(self) -> None:
        """The answer broke off: what comes next is its first word once more."""

    def charge(self, cost: float | None, *, cached: bool) -> None:
        """What the call cost, none where nobody knows; a `cached` answer was recorded earlier."""


@dataclass(slots=True)
class Tab:
    """An account that keeps what it is told."""

    key: ChatKey | None = None
    cost: float | None = None
    cached: bool = False

    def speak_again(self) -> None:
        pass  # nobody listens while it is said

    def charge(self, cost: float | None, *, cached: bool) -> None:
        self.cost, self.cached = cost, cached


def account_of(context: ConversationContext) -> Account:
    account: Account = context.dependencies.get(ACCOUNT) or Tab()
    return account
