"""Business events about questions that wait, with links that answer them, for e-mail hooks and others."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import Audience, HumanAsked, UiToolRequested
from contracts.ids import ChatKey, QuestionId
from services.chassis.answer_links import AnswerLinks
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question

log = logging.getLogger(__name__)

QUESTION_WAITING = "question.waiting"
MAX_PROMPT_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class QuestionNotices:
    """Without `links` the events have none, which is logged."""

    links: AnswerLinks | None = None

    def asked(
        self, question: Question, key: ChatKey, state: ChatState, now: datetime
    ) -> list[Event]:
        """The event about a question that is about to be asked; none if it was recorded before."""
        audience = question.audience or Audience(users=[state.user])
        return self._notice(question, audience, key, state, now, escalated=False)

    def escalated(
        self, question: QuestionId, key: ChatKey, state: ChatState, now: datetime
    ) -> list[Event]:
        """The event about an open question that is about to be escalated; none if nothing is to be sent.

        Whether it is to be escalated is `question_decisions.escalate`'s to say.
        """
        turn = state.open_turn
        asked = None if turn is None else turn.question(question)
        if turn is None or asked is None or asked.escalation is None or not asked.send_links:
            return []
        return self._notice(asked, asked.escalation.to, key, state, now, escalated=True)

    def _notice(
        self,
        question: Question,
        audience: Audience,
        key: ChatKey,
        state: ChatState,
        now: datetime,
        *,
        escalated: bool,
    ) -> list[Event]:
        occasion = f"{question.question_id}:{'escalated' if escalated else 'asked'}"
        turn = state.open_turn
        if turn is None or occasion in turn.business_occasions:
            return []
        if self.links is None:
            log.warning(
                "a question is announced without links: ANSWER_LINK_SECRET is not set",
                extra={"app": key.app, "chat": key.chat},
            )
        metadata = {
            **_facts(question),
            "escalated": escalated,
            "links": list(self._links(question, audience, key, now)),
        }
        return [
            BusinessLogged(
                log_event_type=QUESTION_WAITING,
                message="A question waits for an answer.",
                metadata=metadata,
                occasion=occasion,
            )
        ]

    def _links(
        self, question: Question, audience: Audience, key: ChatKey, now: datetime
    ) -> Iterator[dict[str, Any]]:
        approval = question.approval if isinstance(question, HumanAsked) else None
        digest = None if approval is None else approval.digest
        named = [(user, None) for user in audience.users]
        for user, role in [*named, *((None, role) for role in audience.roles)]:
            recipient = {"user": user, "role": role}
            if self.links is None:
                yield {**recipient, "url": None, "expires_at": None}
                continue
            issued = self.links.issue(
                key,
                question.question_id,
                now,
                user=user,
                role=role,
                digest=digest,
                expires_at=question.expires_at,
            )
            expires = issued.link.expires_at.isoformat()
            yield {**recipient, "url": issued.url, "expires_at": expires}


NO_LINKS = QuestionNotices()
"""Of a process without a secret for links."""


def _facts(question: Question) -> dict[str, Any]:
    expires = question.expires_at
    common = {
        "question_id": question.question_id,
        "agent": question.agent,
        "expires_at": None if expires is None else expires.isoformat(),
    }
    match question:
        case UiToolRequested(component=component, ui_tool_id=ui_tool):
            return {**common, "kind": "component", "component": component, "ui_tool_id": ui_tool}
        case HumanAsked(prompt=prompt, options=options, approval=approval):
            return {
                **common,
                "kind": "text",
                "prompt": prompt[:MAX_PROMPT_CHARS],
                "options": options,
                "tool": None if approval is None else approval.tool,
                "digest": None if approval is None else approval.digest,
            }
