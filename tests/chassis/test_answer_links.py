"""The settings of links that answer questions: complete, or refused by the name of the variable."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.chassis.answer_links import AnswerLinkSettings

SECRET = "s" * 32


def settings(**given: Any) -> AnswerLinkSettings:
    return AnswerLinkSettings(**given)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"answer_link_secret": SECRET}, "PUBLIC_URL"),
        ({"answer_link_secret": "short", "public_url": "https://x"}, "needs at least 32"),
        ({"answer_link_secret": SECRET, "public_url": "chat.example.com"}, "PUBLIC_URL"),
        (
            {
                "answer_link_secret": SECRET,
                "answer_link_secret_file": "f",
                "public_url": "https://x",
            },
            "keep one",
        ),
        ({"answer_link_seconds": 0}, "answer_link_seconds"),
    ],
)
def test_wrong_settings_are_refused_by_name_and_without_the_secret(
    given: dict[str, Any], names: str
) -> None:
    with pytest.raises(ValidationError, match=names) as refused:
        settings(**given)
    assert SECRET not in str(refused.value)


def test_without_a_secret_there_are_no_links() -> None:
    assert settings().answer_links() is None
    assert settings(answer_link_secret="").answer_links() is None


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    given = {"public_url": "https://chat.example.com/", "answer_link_secret_file": file}
    by_file = settings(**given).answer_links()
    by_variable = settings(
        public_url="https://chat.example.com", answer_link_secret=SECRET
    ).answer_links()
    assert by_file == by_variable
    assert SECRET not in repr(by_file)
    file.write_text("short")
    with pytest.raises(ValueError, match="ANSWER_LINK_SECRET_FILE: has 5 bytes"):
        settings(**given).answer_links()
