"""Regular expressions of manifests: the syntax of Python, and a search that always ends."""

import pytest

from services.orchestrator.workflows.patterns import (
    InvalidPatternError,
    check_syntax,
    is_found,
    may_be_slow,
)

SLOW = [r"(\w+\s?)+$", r"(a+)+$", r"(a|a)*$", r"(.*a){20}$"]
QUICK = [r"^DONE\b", r"(?i)approved", r"\d{4}-\d{2}-\d{2}", r"(?=.*yes)(?!.*no)", r"\w+@\w+\.\w+$"]


@pytest.mark.parametrize("pattern", SLOW)
def test_a_search_that_would_take_for_ever_finds_nothing_and_is_warned_of(pattern: str) -> None:
    text = "a" * 20_000 + "!"
    assert not is_found(pattern, text)
    assert may_be_slow(pattern)


@pytest.mark.parametrize("pattern", QUICK)
def test_an_ordinary_pattern_is_not_warned_of(pattern: str) -> None:
    assert not may_be_slow(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^DONE\b", "DONE, says it", True),
        (r"^DONE\b", "not DONE", False),
        (r"(?i)größe", "die GRÖSSE, die Größe", True),
        (r"\w+", "日本", True),
        (r"(?P<year>\d{4})", "in 2026", True),
    ],
)
def test_patterns_are_searched_for_as_python_does(pattern: str, text: str, *, found: bool) -> None:
    assert is_found(pattern, text) == found


@pytest.mark.parametrize("pattern", ["(", "*", "[a", "(?P<1>a)", "a{2,1}"])
def test_what_is_no_regular_expression_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(InvalidPatternError, match=r"\w+"):
        check_syntax(pattern)
