"""One turn in progress: what AG2 does is kept here first, and what a tool asks goes out from here."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    HumanInputRequest,
    HumanMessage,
    ModelMessageChunk,
    ModelRequest,
    ModelResponse,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResultEvent,
    ToolResultsEvent,
    UsageEvent,
)

from contracts import subjects
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import HumanAnswered, HumanAsked, UiToolAnswered, UiToolRequested
from contracts.events.parts import ToolCall
from contracts.events.turn import RUNTIME, SELECTOR, ToolReturned, VariablesChanged
from contracts.ids import ChatKey, RunnerId
from contracts.live import TextStreamed, ToolProgressed
from services.chassis.ending import end
from services.orchestrator.agents import codec
from services.orchestrator.agents.calls import note_call, usage_of
from services.orchestrator.agents.floor import Floor
from services.orchestrator.agents.journal import Journal, NobodyToAskError
from services.orchestrator.agents.variables import Changes
from services.orchestrator.state import Answer, Question, Turn
from services.orchestrator.workflows.spec import DataReference

SCOPE = "mozaiks.scope"
"""Under which a turn's Scope travels in AG2's dependencies."""


class SuspendedError(asyncio.CancelledError):
    """The turn has nothing to do until a person answers: it leaves memory, to come back later.

    A cancellation, so that neither AG2 nor a tool's own `except Exception` takes it for a failure.
    """


@dataclass(frozen=True, slots=True)
class Manner:
    """What becomes of an agent's words on their way out.

    `hides` says whether a text is for the runtime alone; `may_become` whether the beginning of one
    may yet be; `edited` is the text as the workflow's hooks leave it.
    """

    hides: Callable[[str], bool] = lambda _: False
    may_become: Callable[[str], bool] = lambda _: False
    edited: Callable[[str], Awaitable[str]] | None = None


class Scope:
    """The write-ahead side of one agent's turn."""

    def __init__(
        self,
        key: ChatKey,
        turn: Turn,
        variables: dict[str, Any],
        journal: Journal,
        manner: Manner = Manner(),
    ) -> None:
        self.key = key
        self.turn = turn
        self.journal = journal
        self.variables = variables
        self._manner = manner
        self.call = len(turn.responses) - 1
        self.duration = 0.0
        """Seconds that the newest model call took."""
        self.cost: float | None = None
        self.cached = False
        self.digest = ""
        """Of the newest model call's request."""
        self.fault: BaseException | None = None
        self.suspended = False
        self._calls = {asked.id for said in turn.responses for asked in said.tool_calls}
        self._changes = Changes(variables, journal.state.variables)
        self._shown = 0
        self._held = ""
        self._attempt = 0
        self._asked: dict[str, int] = {}
        self._approvals: set[str] = set()
        self._logged: dict[str, int] = {}
        self._questions = {question.question_id for question in turn.questions}
        self._floor = Floor()

    # -- what AG2 says -------------------------------------------------------------------------

    async def keep(self, event: BaseEvent, _: ConversationContext) -> BaseEvent:
        """Keep what an event makes true; returns the event as the log gives it back."""
        match event:
            case ModelMessageChunk(content=text):
                await self._show(text)
            case ModelResponse(response_force=False):
                return await self._keep_response(event)
            case ToolCallsEvent(calls=calls):
                self._floor.begin(call.id for call in calls)
            case ToolResultEvent():
                return await self._keep_result(event)
            case ModelRequest() | ToolCallEvent() | ToolResultsEvent() | ModelResponse():
                pass  # said by the events around them
            case HumanInputRequest() | HumanMessage() | UsageEvent():
                pass  # kept by `ask` and with the response
            case _:
                if not type(event).__transient__:
                    raise codec.UnsupportedEventError(event)
        return event

    async def record(self, *events: Event) -> None:
        """Store facts; a refusal ends the turn even where AG2 would swallow it."""
        with self._faulting():
            await self.journal.record(*events)

    @contextmanager
    def _faulting(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:
            self.fault = fault
            self._leave()  # nobody will answer a turn that cannot be kept
            raise

    def check(self) -> None:
        """Raises what a `record` failed with, before anything else is done on its account."""
        if self.fault is not None:
            raise self.fault

    async def _show(self, text: str) -> None:
        """Show a chunk, or hold it back as long as the whole may turn out to be for nobody's eyes."""
        turn, manner = self.turn, self._manner
        self._held += text
        if turn.agent == SELECTOR or manner.edited or manner.may_become(self._held):
            return
        shown, self._held = self._held, ""
        runner = self.journal.runner
        await self.journal.show(
            TextStreamed(
                turn=turn.number,
                call=self.call,
                agent=turn.agent,
                runner=RunnerId(f"{runner}.{self._attempt}") if self._attempt else runner,
                offset=self._shown,
                text=shown,
            )
        )
        self._shown += len(shown)

    async def _keep_response(self, response: ModelResponse) -> ModelResponse:
        turn = self.turn
        said = codec.responded_of(response, turn=turn.number, call=self.call, agent=turn.agent)
        text = await self._edited(said.text)
        said = said.model_copy(
            update={
                "tool_calls": self._told_apart(said.tool_calls),
                "text": text,
                "hidden": bool(text) and self._manner.hides(text or ""),
            }
        )
        spent = usage_of(said, duration=self.duration, cost=self.cost, cached=self.cached)
        await self.record(said, spent)
        note_call(self.key, self.digest, spent)
        return codec.response_of(said)

    async def _edited(self, text: str | None) -> str | None:
        return text if not text or self._manner.edited is None else await self._manner.edited(text)

    async def _keep_result(self, result: ToolResultEvent) -> ToolResultEvent:
        turn = self.turn
        kept = turn.returned.get(result.parent_id)
        if kept is None:  # else it is told again as the log has it
            kept = codec.returned_of(result, turn=turn.number, call=self.call, agent=turn.agent)
            await self.record(kept, *self.variable_changes(result.parent_id))
        self._floor.end(result.parent_id)
        self.take_in()
        return codec.result_of(kept)

    def _told_apart(self, calls: Iterable[ToolCall]) -> list[ToolCall]:
        """The calls, each with an id of its own: some providers count from 0 in every response."""
        apart: list[ToolCall] = []
        for asked in calls:
            own = asked.id
            while not own or own in self._calls:
                own = f"{own}_{self.call}"
            self._calls.add(own)
            apart.append(asked.model_copy(update={"id": own}))
        return apart

    def settle(self, tool_call: str) -> None:
        """What a tool has changed by now is its doing; called in the tool's own thread."""
        self._changes.settle(tool_call)

    def variable_changes(self, tool_call: str) -> list[Event]:
        """What a call has changed and nobody has kept yet."""
        changed, removed = self._changes.take(tool_call)
        if not changed and not removed:
            return []
        turn = self.turn
        return [
            VariablesChanged(turn=turn.number, agent=turn.agent, changed=changed, removed=removed)
        ]

    def take_in(self) -> None:
        """Learn what others have set meanwhile."""
        self._changes.take_in(self.journal.state.variables)

    def begin_call(self) -> int:
        """The number of the model call that begins now."""
        self.call += 1
        self._shown, self._held, self._attempt = 0, "", 0
        self.charge(None, cached=False)
        self.take_in()
        return self.call

    @asynccontextmanager
    async def invoking(self, call: str) -> AsyncIterator[None]:
        """While the runtime calls a tool of its own accord."""
        self._floor.begin([call])
        try:
            yield
        finally:
            self._floor.end(call)

    async def return_invoked(self, result: ToolReturned) -> None:
        """Keep the result of a call of the runtime's own."""
        await self.record(result, *self.variable_changes(result.tool_call_id))

    # -- as the account of its model calls -------------------------------------------------------

    def speak_again(self) -> None:
        self._held = ""
        if self._shown:  # else nobody has heard a word of it
            self._shown = 0
            self._attempt += 1

    def charge(self, cost: float | None, *, cached: bool) -> None:
        self.cost, self.cached = cost, cached

    # -- what tools ask ------------------------------------------------------------------------

    async def ask(
        self,
        tool_call: str,
        prompt: str,
        options: Sequence[str] = (),
        expires_in: float | None = None,
        default: str | None = None,
    ) -> str:
        place = self._place(tool_call)
        asked = HumanAsked(**place, prompt=prompt, options=list(options), default=default)
        answer = await self._answer_to(asked, expires_in)
        assert isinstance(answer, HumanAnswered)  # noqa: S101  `decide` matches kinds
        return answer.text

    async def ask_approval(self, tool_call: str, prompt: str, options: Sequence[str]) -> str:
        """The first question of a call: whether it may be made at all."""
        said = await self.ask(tool_call, prompt, options)
        self._approvals.add(tool_call)
        return said

    async def use_ui_tool(
        self,
        tool_call: str,
        ui_tool_id: str,
        component: str,
        display: Literal["inline", "artifact"],
        payload: dict[str, Any],
        expires_in: float | None = None,
        default: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        shown = UiToolRequested(
            **self._place(tool_call),
            ui_tool_id=ui_tool_id,
            component=component,
            display=display,
            payload=codec.jsonable(payload),
            default=codec.jsonable(default),
        )
        answer = await self._answer_to(shown, expires_in)
        assert isinstance(answer, UiToolAnswered)  # noqa: S101  `decide` matches kinds
        return answer.response

    async def log_business(self, tool_call: str, event: BusinessLogged) -> None:
        """Keep a business event of a tool, once, however often the tool is run."""
        ordinal = self._logged.get(tool_call, 0)
        self._logged[tool_call] = ordinal + 1
        occasion = f"{self.turn.number}:{tool_call}:{ordinal}"
        if occasion not in self.turn.logged:
            await self.record(event.model_copy(update={"occasion": occasion}))

    async def show_progress(
        self, tool_call: str, tool_name: str, percent: float | None, message: str
    ) -> None:
        await self.journal.show(
            ToolProgressed(
                turn=self.turn.number,
                agent=self.turn.agent,
                runner=self.journal.runner,
                tool_call_id=tool_call,
                tool_name=tool_name,
                percent=percent,
                message=message,
            )
        )

    async def refresh(self, tool_call: str, reference: DataReference) -> Any:
        """Ask again for a variable that lies elsewhere; what is found is the variable's value."""
        occasion = f"{self.turn.number}:{tool_call}"
        found = await self.journal.look_up(reference, self.variables, occasion)
        self.variables[reference.name] = found
        return found

    def begin_again(self, tool_call: str) -> None:
        """The tool runs once more: what it asks and says is what it asked and said before."""
        self._asked[tool_call] = 1 if tool_call in self._approvals else 0
        self._logged.pop(tool_call, None)

    def _place(self, tool_call: str) -> dict[str, Any]:
        if self.turn.agent == RUNTIME:
            raise NobodyToAskError("a tool that is called before or after a chat can ask nobody")
        ordinal = self._asked.get(tool_call, 0)
        self._asked[tool_call] = ordinal + 1
        return {
            "question_id": subjects.question(self.key, self.turn.number, tool_call, ordinal),
            "turn": self.turn.number,
            "agent": self.turn.agent,
            "tool_call_id": tool_call,
            "ordinal": ordinal,
        }

    async def _answer_to(self, question: Question, expires_in: float | None) -> Answer:
        """The answer, at once where it is known; else waits while other tools of the turn work.

        Raises SuspendedError when all of them wait.
        """
        answer = self._answer(question)
        if answer is not None:
            return answer
        if question.question_id not in self._questions:
            self._questions.add(question.question_id)
            if expires_in is not None:
                question = await self._expiring(question, expires_in)
            await self.record(question, *self.variable_changes(question.tool_call_id))
        with self._floor.waiting(question.tool_call_id):
            while (answer := self._answer(question)) is None:
                if self._floor.idle or self.suspended:
                    self._leave()
                    raise SuspendedError
                await self._something_moves()
        self.take_in()
        return answer

    def _answer(self, question: Question) -> Answer | None:
        with self._faulting():  # an answer that another delivery goes on with is not ours to act on
            self.journal.check_ownership()
        turn = self.journal.state.open
        return None if turn is None else turn.answers.get(question.question_id)

    async def _expiring(self, question: Question, expires_in: float) -> Question:
        with self._faulting():
            ends = await self.journal.expire(question.question_id, expires_in)
        return question.model_copy(update={"expires_at": ends})

    def _leave(self) -> None:
        self.suspended = True
        self._floor.stir()  # whoever waits beside us leaves too

    async def _something_moves(self) -> None:
        waits = [
            asyncio.create_task(self._floor.moved()),
            asyncio.create_task(self.journal.changed()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*waits)
