"""Reasoning is taken out of a reply in the same way, and in linear time, however many tags it has."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.workflows.reply_text import without_reasoning

PAIRS = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
START = re.compile(r"<(?:think|thinking|reasoning)>.*$", re.DOTALL | re.IGNORECASE)
PIECES = [
    "<think>",
    "</think>",
    "<THINK>",
    "<thinking>",
    "</thinking>",
    "</reasoning>",
    "<th",
    "a ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_reasoning_is_what_a_regular_expression_would_find(text: str) -> None:
    expected = START.sub("", END.sub("", PAIRS.sub("", text))).strip()
    assert without_reasoning(text) == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>" * 50_000, ""),  # by regular expressions: minutes
        ("Yes. " + "<think>" * 50_000, "Yes."),
        ("<think></thinking>" * 20_000 + "Yes.", "Yes."),
        ("<think>a</think>" * 20_000 + "Yes.", "Yes."),
    ],
    ids=["only opening tags", "an answer before them", "tags that do not match", "many pairs"],
)
def test_a_reply_of_many_tags_is_read(text: str, answer: str) -> None:
    assert without_reasoning(text) == answer
