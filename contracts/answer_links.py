"""Signed links that answer one question: what they hold, how they are signed, and how they are checked."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from contracts.ids import AppId, ChatId, ChatKey, QuestionId, UserId

MAX_TOKEN_CHARS = 2048
_CONTEXT = b"mozaiks.answer-link.v1."
"""Signed with each payload, so that a signature of something else is none of a link."""


class InvalidLinkError(ValueError):
    """A token that is not from here: damaged, forged, or signed with another secret."""


class ExpiredLinkError(ValueError):
    """A token from here whose time is over."""


class AnswerLink(BaseModel):
    """Lets whoever holds it answer one question until `expires` (in seconds since 1970).

    The answer is that of `user`, or of somebody with the `role` where no user is named. `digest` is
    that of the arguments, if the question asks to approve a call.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    app_id: AppId
    chat_id: ChatId
    question_id: QuestionId
    digest: str | None = None
    user: UserId | None = None
    role: str | None = None
    expires: int

    @model_validator(mode="after")
    def _names_somebody(self) -> "AnswerLink":
        if self.user is None and self.role is None:
            raise ValueError("user: a link names a user or a role")
        return self

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.expires, UTC)

    @property
    def answerer(self) -> UserId:
        """Who answers by it: the user, or `role:<name>` where only a role is known."""
        return self.user if self.user is not None else UserId(f"role:{self.role}")


def sign(link: AnswerLink, secret: bytes) -> str:
    """The token of a link: its JSON and the HMAC-SHA256 of it, each in base64url, with a dot between."""
    payload = _encoded(link.model_dump_json(exclude_none=True).encode())
    return f"{payload}.{_encoded(_signature(payload, secret))}"


def verify(token: str, secret: bytes, now: datetime) -> AnswerLink:
    """The link of a token. Raises InvalidLinkError, ExpiredLinkError."""
    payload, _, signature = token.partition(".")
    if len(token) > MAX_TOKEN_CHARS or not hmac.compare_digest(
        signature.encode(errors="replace"), _encoded(_signature(payload, secret)).encode()
    ):
        raise InvalidLinkError("the signature is not valid")
    try:
        link = AnswerLink.model_validate_json(_decoded(payload))
    except (ValidationError, Base64Error, ValueError) as broken:
        raise InvalidLinkError("the content is not valid") from broken
    if now >= link.expires_at:
        raise ExpiredLinkError("the link has expired")
    return link


def _signature(payload: str, secret: bytes) -> bytes:
    return hmac.digest(secret, _CONTEXT + payload.encode(errors="replace"), sha256)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
