"""Where a turn writes its facts, and asks for what only the chat can give."""

from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, Protocol

from contracts.events import Event
from contracts.ids import QuestionId, RunnerId
from contracts.live import Delta
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.spec import DataReference


class Journal(Protocol):
    """Where a turn writes its facts. Every `record` returns only once they are stored."""

    @property
    def state(self) -> ChatState:
        """What is known of the chat by now."""
        ...

    @property
    def runner(self) -> RunnerId:
        """Who it is that shows something here."""
        ...

    async def record(self, *events: Event) -> None: ...

    def check_ownership(self) -> None:
        """Raises FencedError or SupersededError once the chat is another delivery's to run."""
        ...

    async def show(self, delta: Delta) -> None:
        """Show, to whoever watches now, what is stored later or never."""
        ...

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        """The value of a variable that lies elsewhere, now; its default where there is none."""
        ...

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        """Set the timer of a question that is about to be asked; when it will end."""
        ...

    def changed(self) -> Coroutine[Any, Any, object]:
        """Returns when something was added to the chat since this was called."""
        ...


class NobodyToAskError(RuntimeError):
    """A tool asks the person where no turn is open that could wait for the answer."""
