"""Each decision has a page of one form, and the index lists them all."""

from pathlib import Path

import pytest

from docs.generators import decisions

PAGE = """# Own rate limiter

Sign-in and tenants, 2026-11-25

**What.** a

**Why.** b

**Alternatives.** c

**Cost.** d

**Revisit when.** e
"""


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (PAGE.replace("2026-11-25", "yesterday"), "expected '# Title'"),
        (PAGE.replace("**Cost.** d\n\n", ""), "expected"),
        (PAGE.replace("Alternatives", "Considered"), "Considered"),
    ],
)
def test_a_page_of_another_form_is_refused_by_name(tmp_path: Path, wrong: str, named: str) -> None:
    page = tmp_path / "own-rate-limiter.md"
    page.write_text(wrong)
    with pytest.raises(decisions.DecisionFormatError, match=rf"own-rate-limiter\.md: .*{named}"):
        decisions.read(page)


def test_the_index_lists_decisions_by_topic_and_date(tmp_path: Path) -> None:
    for name, date in (("b.md", "2026-11-24"), ("a.md", "2026-11-25")):
        (tmp_path / name).write_text(PAGE.replace("2026-11-25", date))
    text = decisions.index([decisions.read(page) for page in sorted(tmp_path.glob("*.md"))])
    assert "## Sign-in and tenants\n\n* [Own rate limiter](b.md), 2026-11-24\n* " in text
