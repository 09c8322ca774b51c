"""Issues and reads the links that answer a question, with the secret of the settings."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from contracts.answer_links import AnswerLink, sign, verify
from contracts.ids import ChatKey, QuestionId, UserId
from services.chassis.settings import FilePath, Secret, Settings, Text

MIN_SECRET_BYTES = 32
DAY = 24 * 3600.0


class AnswerLinkSettings(Settings):
    """Links that answer questions: both services that read these need the same values."""

    answer_link_secret: Secret = None
    """Secret that signs links which answer questions, at least 32 bytes; unset: there are no links."""
    answer_link_secret_file: FilePath = None
    """File with that secret, read once when the service starts."""
    answer_link_seconds: float = Field(default=7 * DAY, gt=0, le=366 * DAY)
    """Seconds after which a link expires, where its question does not expire before."""
    public_url: Text = None
    """Base URL of the transport for users, which links begin with: `https://chat.example.com`."""

    @model_validator(mode="after")
    def _links_are_complete(self) -> Self:
        given = [self.answer_link_secret, self.answer_link_secret_file]
        if all(given):
            raise ValueError("ANSWER_LINK_SECRET and ANSWER_LINK_SECRET_FILE: keep one")
        if any(given) and not self.public_url:
            raise ValueError("ANSWER_LINK_SECRET needs PUBLIC_URL, which the links begin with")
        if self.public_url and urlsplit(self.public_url).scheme not in ("http", "https"):
            raise ValueError("PUBLIC_URL: expected https://host or http://host")
        if self.answer_link_secret is not None:
            _checked(self.answer_link_secret.get_secret_value(), "ANSWER_LINK_SECRET")
        return self

    def answer_links(self) -> "AnswerLinks | None":
        """None where no secret is set. Raises OSError, ValueError where its file cannot be used."""
        secret = self.answer_link_secret
        if self.answer_link_secret_file is not None:
            text = _secret_of(self.answer_link_secret_file)
        elif secret is not None:
            text = secret.get_secret_value()
        else:
            return None
        limit = timedelta(seconds=self.answer_link_seconds)
        return AnswerLinks(text.encode(), (self.public_url or "").rstrip("/"), limit)


def _secret_of(file: Path) -> str:
    return _checked(file.read_text(encoding="utf-8").strip(), "ANSWER_LINK_SECRET_FILE")


def _checked(secret: str, setting: str) -> str:
    if (size := len(secret.encode())) < MIN_SECRET_BYTES:
        raise ValueError(f"{setting}: has {size} bytes, needs at least {MIN_SECRET_BYTES}")
    return secret


@dataclass(frozen=True, slots=True)
class IssuedLink:
    url: str
    link: AnswerLink


@dataclass(frozen=True, slots=True, repr=False)
class AnswerLinks:
    """Links below `base_url`, signed with `secret`, valid for `limit` at most."""

    secret: bytes
    base_url: str
    limit: timedelta

    def issue(
        self,
        key: ChatKey,
        question: QuestionId,
        now: datetime,
        *,
        user: UserId | None = None,
        role: str | None = None,
        digest: str | None = None,
        expires_at: datetime | None = None,
    ) -> IssuedLink:
        """A link for a user or a role; it expires with the question, if that is earlier."""
        until = now + self.limit
        if expires_at is not None:
            until = min(until, expires_at)
        link = AnswerLink(
            app_id=key.app,
            chat_id=key.chat,
            question_id=question,
            digest=digest,
            user=user,
            role=role,
            expires=int(until.timestamp()),
        )
        return IssuedLink(f"{self.base_url}/answer/{sign(link, self.secret)}", link)

    def read(self, token: str, now: datetime) -> AnswerLink:
        """Raises InvalidLinkError, ExpiredLinkError."""
        return verify(token, self.secret, now)
