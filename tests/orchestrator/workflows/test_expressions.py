"""Conditions: their meaning, syntax errors with position, and that evaluation never raises."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.workflows.expressions import (
    MAX_DEPTH,
    MAX_LENGTH,
    ExpressionError,
    evaluate,
    parse,
)

VARIABLES = {
    "approved": True,
    "tries": 3,
    "price": 2.5,
    "bread": "rye bread",
    "sorts": ["rye", "white"],
    "order": {"bread": {"sort": "rye"}, "count": 2},
    "nothing": None,
}

TRUE = [
    "${approved}",
    "${approved} == True",
    "${approved} == true",
    "${ approved }",
    "${tries} == 3",
    "${tries} == 3.0",
    "${tries} != 4",
    "${price} > 2 and ${price} <= 2.5",
    "${tries} >= 3 && ${tries} < 4",
    "not ${absent}",
    "!${absent} || ${absent}",
    "${absent} == None",
    "${absent} == null",
    "${order.bread.sort} == 'rye'",
    '${order.bread.sort} == "rye"',
    "${order.count.more} == None",
    "'rye' in ${sorts}",
    "'rye' in ${bread}",
    "'count' in ${order}",
    "'oat' not in ${sorts}",
    "${order.bread.sort} in ['oat', 'rye']",
    "${tries} in [1, 2, 3,]",
    "not ${tries} == 4",
    "not (${tries} == 3 and ${price} == 3)",
    "${absent} or ${approved}",
    "-1 < ${tries}",
    "${tries} < 1e3",
    r"'it\'s' == \"it's\"".replace(r"\"", '"'),
    "'a' < 'b'",
    "True or False and False",
    "(True or False) == True",
    "${sorts} == ['rye', 'white']",
]
FALSE = [
    "${absent}",
    "${nothing}",
    "${tries} == '3'",
    "${approved} == 1",
    "${approved} > 0",
    "${tries} < 'x'",
    "${tries} >= 'x'",
    "${absent} < 1",
    "${absent} in ${sorts}",
    "'x' in ${absent}",
    "3 in ${bread}",
    "${order} < ${order}",
    "${bread.length}",
    "''",
    "[]",
    "0",
    "(True or False) and False",
]


@pytest.mark.parametrize("text", TRUE)
def test_a_condition_is_true(text: str) -> None:
    assert evaluate(parse(text), VARIABLES) is True


@pytest.mark.parametrize("text", FALSE)
def test_a_condition_is_false(text: str) -> None:
    assert evaluate(parse(text), VARIABLES) is False


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 1, "a value"),
        ("   ", 4, "a value"),
        ("${a} ==", 8, "a value"),
        ("${a} = 1", 6, "an operator"),
        ("a == 1", 1, "a value"),
        ("${a", 1, "a value"),
        ("${}", 1, "a value"),
        ("${a} == 1 == 2", 11, "the end"),
        ("${a} 1", 6, "the end"),
        ("(${a}", 6, ")"),
        ("[1 2]", 4, "]"),
        ("${a} not 1", 10, "in"),
        ("'open", 1, "a value"),
        ("__import__('os')", 1, "a value"),
        ("${a}.__class__", 5, "an operator"),
        ("${a} and lambda", 10, "a value"),
    ],
)
def test_a_syntax_error_has_a_position(text: str, position: int, expected: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text)
    assert refused.value.position == position
    assert expected in refused.value.expected


def test_an_expression_keeps_its_text() -> None:
    assert parse("${a}  ==1").text == "${a}  ==1"
    assert parse("${a}") == parse("${a}")


@pytest.mark.parametrize("text", ["(" * 999 + "1" + ")" * 999, "not " * 400 + "1", "[" * 999])
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(ExpressionError, match=f"at most {MAX_DEPTH} levels"):
        parse(text)


def test_length_is_limited() -> None:
    assert evaluate(parse("1" + " " * (MAX_LENGTH - 1)), {})
    with pytest.raises(ExpressionError, match=f"at most {MAX_LENGTH} characters"):
        parse("1" + " " * MAX_LENGTH)


NAMES = st.sampled_from(["a", "b", "c.d", "größe", "x-y"])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=6,
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = (
    NAMES.map(lambda name: f"${{{name}}}")
    | st.integers(-99, 99).map(str)
    | st.floats(-99, 99).map(repr)
    | WORDS.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
    | st.sampled_from(["True", "false", "None", "[]", "[1, 'x', ${a}]"])
)
COMPARISONS = st.builds(
    " ".join,
    st.tuples(
        VALUES,
        st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"]),
        VALUES,
    ),
)
CONDITIONS = st.recursive(
    VALUES | COMPARISONS,
    lambda inner: st.one_of(
        st.builds(" and ".join, st.tuples(inner, inner)),
        st.builds(" || ".join, st.tuples(inner, inner)),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=8,
)
KNOWN = st.dictionaries(st.sampled_from(["a", "b", "c", "größe", "x-y"]), JSON)


@settings(deadline=None, max_examples=40)
@given(CONDITIONS, KNOWN)
def test_a_parsed_expression_never_raises(text: str, variables: dict[str, Any]) -> None:
    condition = parse(text)
    assert evaluate(condition, variables) is evaluate(parse(condition.text), variables)


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet="${}ab.'\"()[]!<>=&|, 019andortin\\", max_size=40), KNOWN)
def test_any_text_is_parsed_or_rejected(text: str, variables: dict[str, Any]) -> None:
    assert judged(text, variables) in (True, False, None)


def judged(text: str, variables: dict[str, Any]) -> bool | None:
    """Whether a condition is true; None if the text is not a condition."""
    try:
        return evaluate(parse(text), variables)
    except ExpressionError as refused:
        inside = 1 <= refused.position <= len(text) + 1
        return None if inside else pytest.fail(f"{text!r}: {refused}")


@settings(deadline=None, max_examples=40)
@given(CONDITIONS, KNOWN)
def test_not_negates(text: str, variables: dict[str, Any]) -> None:
    held = evaluate(parse(text), variables)
    assert evaluate(parse(f"!({text})"), variables) is not held


@settings(deadline=None, max_examples=40)
@given(CONDITIONS, CONDITIONS, KNOWN)
def test_and_and_or_combine_both_conditions(
    one: str, other: str, variables: dict[str, Any]
) -> None:
    left, right = (evaluate(parse(text), variables) for text in (one, other))
    assert evaluate(parse(f"({one}) and ({other})"), variables) is (left and right)
    assert evaluate(parse(f"({one}) or ({other})"), variables) is (left or right)


@settings(deadline=None, max_examples=40)
@given(JSON, JSON)
def test_a_comparison_and_its_opposite_are_never_both_true(left: Any, right: Any) -> None:
    known = {"l": left, "r": right}
    for comparison, opposite in [("==", "!="), ("in", "not in")]:
        assert evaluate(parse(f"${{l}} {comparison} ${{r}}"), known) is not evaluate(
            parse(f"${{l}} {opposite} ${{r}}"), known
        )


@settings(deadline=None, max_examples=40)
@given(WORDS)
def test_any_text_can_be_written_as_a_literal(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert evaluate(parse(f"${{t}} == {quoted}"), {"t": text})
