"""Links that answer questions: only the holder of the secret can make one, and each has an end."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.answer_links import (
    AnswerLink,
    ExpiredLinkError,
    InvalidLinkError,
    sign,
    verify,
)
from contracts.ids import AppId, ChatId, QuestionId, UserId

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = b"s" * 32
LINK = AnswerLink(
    app_id=AppId("acme"),
    chat_id=ChatId("c 1"),
    question_id=QuestionId("acme.c-1.1.0.call-1"),
    digest="d" * 64,
    user=UserId("bob"),
    expires=int(NOW.timestamp()) + 60,
)


def test_a_link_is_read_as_it_was_signed_until_it_expires() -> None:
    token = sign(LINK, SECRET)
    assert verify(token, SECRET, NOW) == LINK
    assert verify(token, SECRET, NOW + timedelta(seconds=59.9)) == LINK
    with pytest.raises(ExpiredLinkError):
        verify(token, SECRET, NOW + timedelta(seconds=60))


def test_a_token_is_safe_in_the_path_of_an_address() -> None:
    token = sign(LINK.model_copy(update={"user": UserId("ünï/?&#%.. ")}), SECRET)
    assert all(one.isalnum() or one in "-_." for one in token)
    assert token.isascii()


@pytest.mark.parametrize(
    "change", ["user", "app_id", "chat_id", "question_id", "digest", "expires"]
)
def test_no_part_of_a_link_can_be_changed(change: str) -> None:
    other = {"expires": LINK.expires + 1}.get(change, "other")
    payload, _, _ = sign(LINK.model_copy(update={change: other}), SECRET).partition(".")
    _, _, signature = sign(LINK, SECRET).partition(".")
    with pytest.raises(InvalidLinkError):
        verify(f"{payload}.{signature}", SECRET, NOW)


@pytest.mark.parametrize(
    "token",
    ["", ".", "a.b", "é.é", "\ud800", "x" * 3000, sign(LINK, b"t" * 32), sign(LINK, SECRET)[:-1]],
)
def test_what_was_not_signed_with_the_secret_is_no_link(token: str) -> None:
    with pytest.raises(InvalidLinkError):
        verify(token, SECRET, NOW)


def test_a_link_names_who_answers() -> None:
    assert LINK.answerer == "bob"
    assert LINK.model_copy(update={"user": None, "role": "finance"}).answerer == "role:finance"
    with pytest.raises(ValueError, match="user or a role"):
        AnswerLink(**{**LINK.model_dump(), "user": None})
