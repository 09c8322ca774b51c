"""API keys, tokens and passwords are replaced; ordinary text stays."""

import json
import logging

import pytest
from pydantic_core import to_json

from services.chassis.logs.formats import JsonLines, Lines
from services.chassis.secrets import REDACTED, Redactor, process_redactor, secrets_of

ENVIRONMENT = {
    "OPENAI_API_KEY": "my-own-key-123",
    "SHOP_TOKEN": "token-of-the-shop",
    "DB_PASSWORD": "hunter2hunter2",
    "MONGODB_URI": "mongodb://ann:pa55word-of-ann@db:27017/x",
    "KEYBOARD_LAYOUT": "international",
    "SHORT_KEY": "true",
    "TLS_KEY": "/etc/tls/key.pem",
    "MAX_TOKENS": "12345678",
    "MONKEY": "capuchin-monkey",
}


def test_secrets_are_known_by_the_names_of_their_variables_and_from_urls() -> None:
    assert secrets_of(ENVIRONMENT) == {
        "my-own-key-123",
        "token-of-the-shop",
        "hunter2hunter2",
        "pa55word-of-ann",
    }


LOOKS_LIKE_A_SECRET = [
    "sk-abcdefghijklmnopqrst",
    "sk-proj-abc_DEF-ghijklmnopqrst",
    "AKIAABCDEFGHIJKLMNOP",
    "AIzaSyA-1234567890abcdefghijklmnopqrstu",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-1234567890-abc",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", LOOKS_LIKE_A_SECRET)
def test_what_has_the_form_of_a_secret_is_replaced_in_errors_only(secret: str) -> None:
    redactor = Redactor(())
    assert redactor.without_any(f"key={secret}, sent") == f"key={REDACTED}, sent"
    assert redactor.without_known(secret) == secret


def test_passwords_in_urls_and_bearer_tokens_are_replaced() -> None:
    text = "GET https://ann:opensesame@shop/x with Authorization: Bearer abcdefghijklmnop123"
    assert Redactor(()).without_any(text) == (
        f"GET https://ann:{REDACTED}@shop/x with Authorization: Bearer {REDACTED}"
    )


ORDINARY = [
    "scikit-learn is sk-learn",
    "http://127.0.0.1:8080/a@b",
    "see https://example.org/x?y=1 or mail ann@example.org",
    "risk-averse people",
    "AKIA",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor(secrets_of(ENVIRONMENT)).without_any(text) == text


def test_a_secret_that_contains_another_is_replaced_whole() -> None:
    redactor = Redactor(["abcdefgh", "abcdefgh-ijkl"])
    assert redactor.without_known("abcdefgh-ijkl abcdefgh") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize("secret", ['pass"word\\', "pässwörd-🌧", "line\nline\x1f", "plain-secret"])
def test_a_secret_is_found_in_json_however_it_is_escaped(secret: str) -> None:
    redactor = Redactor([secret])
    for value in ({"a": [secret]}, {secret: 1}, f"with {secret}."):
        assert redactor.is_in_json(to_json(value).decode())
        assert redactor.is_in_json(json.dumps(value, ensure_ascii=False))
    assert not redactor.is_in_json('{"a": "another"}')
    assert not Redactor([]).is_in_json('{"a": ""}')


@pytest.mark.parametrize("formatter", [JsonLines("x"), Lines("x")], ids=["json", "terminal"])
def test_log_lines_have_no_secret_in_message_extras_or_exception(
    formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "token-of-the-shop")
    process_redactor.cache_clear()
    try:
        record = logging.makeLogRecord({"msg": "a token-of-the-shop", "why": "token-of-the-shop"})
        try:
            raise ValueError("token-of-the-shop")  # noqa: TRY301
        except ValueError as error:
            record.exc_info = (type(error), error, error.__traceback__)
        line = formatter.format(record)
    finally:
        process_redactor.cache_clear()
    assert "token-of-the-shop" not in line
    assert line.count(REDACTED) >= 3
    if isinstance(formatter, JsonLines):
        assert json.loads(line)["why"] == REDACTED
