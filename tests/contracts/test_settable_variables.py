"""A client sets only what a workflow's definitions let it set, and what is its page's own."""

import pytest

from contracts.settable_variables import why_not_settable

SETTABLE = {"colour": [], "quantity": ["picker", "basket"]}


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("colour", None),
        ("colour", "anything"),
        ("quantity", "picker"),
        ("quantity", "basket"),
        ("ui_route", None),
        ("ui_colour", "anything"),
    ],
)
def test_what_a_definition_lets_users_set_is_settable(name: str, component: str | None) -> None:
    assert why_not_settable(name, SETTABLE, component) is None


@pytest.mark.parametrize(
    ("name", "component", "why"),
    [
        ("price", None, "the workflow lets no user set this variable"),
        ("price", "picker", "the workflow lets no user set this variable"),
        ("Colour", None, "the workflow lets no user set this variable"),
        ("quantity", None, "only these components may set this variable: basket, picker"),
        ("quantity", "table", "only these components may set this variable: basket, picker"),
    ],
)
def test_everything_else_is_refused_with_the_reason(
    name: str, component: str | None, why: str
) -> None:
    assert (why_not_settable(name, SETTABLE, component) or "").startswith(why)
