"""What tools ask during a turn: questions, approvals and UI tools, with expiry and escalation."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from contracts import subjects
from contracts.approvals import ALWAYS, APPROVE, DENY, Verdict, verdict_of
from contracts.arguments import digest_of
from contracts.events.human import (
    Approval,
    Audience,
    Display,
    Doubt,
    Escalation,
    HumanAnswered,
    HumanAsked,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import RUNTIME
from contracts.ids import ChatKey, QuestionId, UserId
from services.chassis.jetstream.errors import MessageTooLargeError
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.agents.ag2.json_values import jsonable
from services.orchestrator.agents.session.dispatches import Dispatches
from services.orchestrator.agents.session.open_calls import OpenCalls
from services.orchestrator.agents.session.ports import QuestionNotAllowedError
from services.orchestrator.agents.session.turn_journal import TurnJournal
from services.orchestrator.agents.session.variable_tracking import VariableTracker
from services.orchestrator.domain.call_outcomes import DOUBT_ANSWERS, DoubtAnswer, doubt_answer
from services.orchestrator.domain.turn import Answer, Question, Turn, is_of_tool
from services.orchestrator.workflows.spec import ApprovalPolicy, QuestionRouting, Recipients

MAX_WAIT_SECONDS = 10 * 366 * 24 * 3_600
"""Ten years: no timer is set to a later time."""
MAX_SHOWN_CHARS = 4_000
"""Of the arguments in the question of an approval; the tool gets them whole."""
TO_USER = QuestionRouting()


@dataclass(frozen=True, slots=True)
class CallToApprove:
    """A tool call that needs an approval; `arguments` is the text of a JSON object."""

    id: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may be made, by the answer to which question, and the text of that answer."""

    approved: bool
    question: QuestionId
    text: str = ""
    expired: bool = False


class TurnSuspendedError(asyncio.CancelledError):
    """The turn has nothing to do until the user answers: it leaves memory and is resumed later.

    A cancellation, so that neither AG2 nor a tool's own `except Exception` takes it for a failure.
    """


class HumanRequests:
    """The questions of one turn; a question that is known already is not recorded again.

    Every method takes the id of the tool call that asks. Each raises QuestionNotAllowedError before
    and after a chat, ValueError for a question that is too large to be stored, and TurnSuspendedError once every open call of the turn waits for the user.
    """

    def __init__(
        self,
        key: ChatKey,
        turn: Turn,
        journal: TurnJournal,
        open_calls: OpenCalls,
        variables: VariableTracker,
        dispatches: Dispatches,
    ) -> None:
        self._key = key
        self._turn = turn
        self._journal = journal
        self._open_calls = open_calls
        self._variables = variables
        self._dispatches = dispatches
        self._recorded = {question.question_id for question in turn.questions}
        # Of a turn that began in the origin of a fork, whose questions have its id.
        self._inherited = {
            subjects.place_of_question(asked): asked
            for asked in self._recorded
            if subjects.chat_of_question(asked) != key
        }
        self._next_ordinal: dict[str, int] = {}
        self._approved_calls: set[str] = set()
        self._approvals: dict[str, QuestionId] = {}

    async def ask(
        self,
        tool_call: str,
        prompt: str,
        options: Sequence[str] = (),
        expires_in: float | None = None,
        default: str | None = None,
        routing: QuestionRouting = TO_USER,
    ) -> str:
        """The answer; `default` when there is none within `expires_in` seconds.

        Raises ValueError for a routing that reaches nobody.
        """
        fields = self._question_fields(tool_call, self._take_ordinal(tool_call))
        question = HumanAsked(**fields, prompt=prompt, options=list(options), default=default)
        answer = await self._answer_to(question, expires_in, routing)
        assert isinstance(answer, HumanAnswered)  # noqa: S101  `decide` matches kinds
        return answer.text

    async def ask_approval(self, call: CallToApprove, policy: ApprovalPolicy) -> Decision:
        """The decision about a call, before the call asks anything itself.

        An answer that is neither yes nor no, and one that was given to other arguments, is not a
        decision: another question follows.
        """
        self._approved_calls.add(call.id)
        self._next_ordinal.setdefault(call.id, 1)
        granted = self._journal.state.always_approved.get((self._turn.agent, call.tool))
        if granted is not None:
            self._approvals[call.id] = granted
            return Decision(approved=True, question=granted)
        digest, note = digest_of(call.arguments), ""
        for number in count():
            question = self._approval_question(call, policy, digest, note, number)
            answer = await self._answer_to(question, policy.expires_after_seconds, policy.routing)
            assert isinstance(answer, HumanAnswered)  # noqa: S101  `decide` matches kinds
            verdict = _verdict(answer, policy)
            if verdict is None:
                note = f"“{answer.text[:MAX_SHOWN_CHARS]}” is neither yes nor no. "
            elif self._asked_about(question) not in (None, digest):
                note = "The arguments of the call have changed. "
            else:
                self._approvals[call.id] = question.question_id
                return Decision(
                    verdict.approved, question.question_id, answer.text, expired=answer.by_default
                )
        raise AssertionError("unreachable")  # `count` does not end

    def _approval_question(
        self, call: CallToApprove, policy: ApprovalPolicy, digest: str, note: str, number: int
    ) -> HumanAsked:
        """Approvals count downwards from 0, so that their ids are not those of the call's own."""
        return HumanAsked(
            **self._question_fields(call.id, -number),
            prompt=note + approval_prompt(call),
            options=[APPROVE, DENY, *([ALWAYS] if policy.allow_always else [])],
            default=None if policy.expires_after_seconds is None else DENY,
            approval=Approval(tool=call.tool, digest=digest, allow_always=policy.allow_always),
        )

    def _asked_about(self, question: Question) -> str | None:
        """The digest that a question was asked about; None for one of a release without digests."""
        turn = self._journal.state.open_turn
        asked = None if turn is None else turn.question(question.question_id)
        approval = asked.approval if isinstance(asked, HumanAsked) else None
        return None if approval is None else approval.digest

    def approval_of(self, tool_call: str) -> QuestionId | None:
        """The question whose answer allows a call; None if it needs none."""
        return self._approvals.get(tool_call)

    async def ask_in_doubt(
        self, tool_call: str, prompt: str, doubt: Doubt, routing: QuestionRouting
    ) -> tuple[DoubtAnswer, QuestionId]:
        """What is said of a call of which nobody knows whether it took effect, and to which question.

        A text that is none of the answers is not a decision: another question follows.
        """
        note = ""
        for number in count():
            fields = self._question_fields(tool_call, doubt.attempt)
            question = HumanAsked(
                **{**fields, "question_id": self._doubt_question(tool_call, doubt.attempt, number)},
                prompt=note + prompt,
                options=DOUBT_ANSWERS,
                doubt=doubt,
            )
            answer = await self._answer_to(question, None, routing)
            assert isinstance(answer, HumanAnswered)  # noqa: S101  `decide` matches kinds
            if (said := doubt_answer(answer.text)) is not None:
                return said, question.question_id
            note = f"“{answer.text[:MAX_SHOWN_CHARS]}” is none of the answers. "
        raise AssertionError("unreachable")  # `count` does not end

    def is_asked_in_doubt(self, tool_call: str, attempt: int) -> bool:
        """Whether somebody was asked about this attempt already."""
        return self._doubt_question(tool_call, attempt, 0) in self._recorded

    def _doubt_question(self, tool_call: str, attempt: int, number: int) -> QuestionId:
        return self._known_id(
            subjects.doubt_question(self._key, self._turn.number, tool_call, attempt, number)
        )

    def _known_id(self, question: QuestionId) -> QuestionId:
        """The id under which a question was asked before the chat was forked, if it was."""
        if not self._inherited:
            return question
        return self._inherited.get(subjects.place_of_question(question), question)

    async def use_ui_tool(
        self,
        tool_call: str,
        ui_tool_id: str,
        component: str,
        display: Display,
        payload: dict[str, Any],
        expires_in: float | None = None,
        default: dict[str, Any] | None = None,
        routing: QuestionRouting = TO_USER,
    ) -> dict[str, Any]:
        """What the user entered in the UI component; `default` and `routing` as for `ask`."""
        request = UiToolRequested(
            **self._question_fields(tool_call, self._take_ordinal(tool_call)),
            ui_tool_id=ui_tool_id,
            component=component,
            display=display,
            payload=jsonable(payload),
            default=jsonable(default),
        )
        answer = await self._answer_to(request, expires_in, routing)
        assert isinstance(answer, UiToolAnswered)  # noqa: S101  `decide` matches kinds
        return answer.response

    def restart_call(self, tool_call: str) -> None:
        """The tool runs again: its next question is its first one, after that of its approval."""
        self._next_ordinal[tool_call] = 1 if tool_call in self._approved_calls else 0

    def _take_ordinal(self, tool_call: str) -> int:
        ordinal = self._next_ordinal.get(tool_call, 0)
        self._next_ordinal[tool_call] = ordinal + 1
        return ordinal

    def _question_fields(self, tool_call: str, ordinal: int) -> dict[str, Any]:
        """What identifies a question of a call, equal in every run of it."""
        if self._turn.agent == RUNTIME:
            raise QuestionNotAllowedError(
                "a tool that is called before or after a chat cannot ask the user"
            )
        return {
            "question_id": self._known_id(
                subjects.question(self._key, self._turn.number, tool_call, ordinal)
            ),
            "turn": self._turn.number,
            "agent": self._turn.agent,
            "tool_call_id": tool_call,
            "ordinal": ordinal,
        }

    async def _answer_to(
        self, question: Question, expires_in: float | None, routing: QuestionRouting
    ) -> Answer:
        """The answer, at once if it is known; else waits as long as another call of the turn works."""
        answer = self._known_answer(question)
        if answer is not None:
            return answer
        if question.question_id not in self._recorded:
            await self._record(question, expires_in, routing)
            self._recorded.add(question.question_id)
        await self._wait_while(question.tool_call_id, lambda: self._known_answer(question) is None)
        answer = self._known_answer(question)
        assert answer is not None  # noqa: S101  waited for
        self._variables.merge_logged(self._journal.state.variables)
        await self._dispatches.append_continued(question.tool_call_id)
        return answer

    async def wait_for_answers(self, tool_call: str) -> None:
        """Wait until every question that a tool has asked is answered: before, it has no more to do."""
        await self._wait_while(tool_call, lambda: self._has_open_question(tool_call))

    def _has_open_question(self, tool_call: str) -> bool:
        self._journal.check_ownership()
        turn = self._journal.state.open_turn
        return turn is not None and any(
            one.tool_call_id == tool_call and is_of_tool(one) for one in turn.unanswered
        )

    async def _wait_while(self, tool_call: str, waits: Callable[[], bool]) -> None:
        """Raises TurnSuspendedError once every open call of the turn waits."""
        with self._open_calls.waiting(tool_call):
            while waits():
                if self._open_calls.all_waiting or self._journal.suspended:
                    self._journal.suspend()
                    raise TurnSuspendedError
                await self._wait_for_change()

    async def _record(
        self, question: Question, expires_in: float | None, routing: QuestionRouting
    ) -> None:
        _check_seconds("expires_in", expires_in)
        _check_seconds("escalate_after", routing.escalate_after)
        question = await self._routed(question, routing)
        if expires_in is not None:
            expires_at = await self._journal.expire(question.question_id, expires_in)
            question = question.model_copy(update={"expires_at": expires_at})
        if question.send_links:  # before it is asked: a chat that waits is not run again
            await self._journal.announce(question)
        changes = self._variables.take_events(question.tool_call_id, self._turn)
        try:
            await self._journal.record(question, *changes)
        except MessageTooLargeError as too_large:
            self._variables.give_back(question.tool_call_id, changes)
            field = "prompt" if isinstance(question, HumanAsked) else "payload"
            raise ValueError(
                f"{field}: a question, with what it changes, may have {too_large.limit:,} bytes"
            ) from too_large

    async def _routed(self, question: Question, routing: QuestionRouting) -> Question:
        """The question with its audience, and the timer of its escalation set."""
        update: dict[str, Any] = {"send_links": routing.send_links}
        if routing.to is not None:
            update["audience"] = _audience(routing.to, "users, roles")
        if routing.escalate_after is not None:
            to = _audience(routing.escalate_to, "escalate_to_users, escalate_to_roles")
            at = await self._journal.escalate(question.question_id, routing.escalate_after)
            update["escalation"] = Escalation(at=at, to=to)
        return question.model_copy(update=update)

    def _known_answer(self, question: Question) -> Answer | None:
        self._journal.check_ownership()  # another delivery acts on the answer once it took over
        turn = self._journal.state.open_turn
        return None if turn is None else turn.answers.get(question.question_id)

    async def _wait_for_change(self) -> None:
        changes = [
            asyncio.create_task(self._open_calls.changed()),
            asyncio.create_task(self._journal.changed()),
        ]
        try:
            await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*changes)


def approval_prompt(call: CallToApprove) -> str:
    return f"May {call.tool} be called with {shown_arguments(call.arguments)}?"


def shown_arguments(arguments: str | Mapping[str, Any]) -> str:
    """The arguments of a call as a question shows them: JSON text, cut if it is long."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def _verdict(answer: HumanAnswered, policy: ApprovalPolicy) -> Verdict | None:
    if answer.approved is None:  # also an answer that a release without verdicts has recorded
        return verdict_of(answer.text, allow_always=policy.allow_always)
    return Verdict(answer.approved, answer.always)


def _check_seconds(field: str, seconds: float | None) -> None:
    """Raises ValueError for a time that no timer can be set to."""
    if seconds is not None and not 0 <= seconds <= MAX_WAIT_SECONDS:  # nor NaN
        raise ValueError(
            f"{field}: must be a number of seconds from 0 to {MAX_WAIT_SECONDS:,}, not {seconds}"
        )


def _audience(to: Recipients, fields: str) -> Audience:
    if not (to.users or to.roles):
        raise ValueError(f"{fields}: name at least one user or role: nobody could answer")
    return Audience(users=[UserId(user) for user in to.users], roles=list(to.roles))
