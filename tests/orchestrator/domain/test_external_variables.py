"""Variables of other databases: when they are looked up, by which query, and their values."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.events.chat import ChatStarted
from contracts.events.turn import RUNTIME, ModelRequested, TurnCompleted, VariablesChanged
from contracts.lookups import DataFound
from services.orchestrator.domain.external_variables import (
    due,
    lookup_request,
    lookup_requests,
    resolved,
    unresolved,
)
from services.orchestrator.workflows.data_references import (
    UnknownPlaceholderError,
    fill_placeholders,
    placeholders,
)
from services.orchestrator.workflows.spec import DataReference, Workflow
from tests.story import ANA, KEY, NEWSROOM, WRITER, Story, given, speaks

MENU = DataReference("menu", "shop", "menus", {"day": "{{var.day}}"}, ("soup",), default="none")
DAY = DataReference(
    "day", "shop", "days", {"app": "{{runtime.app_id}}"}, ("name",), default="monday"
)
MOOD = DataReference("mood", "shop", "moods", refresh="per_phase")
STOCK = DataReference("stock", "shop", "stocks", refresh="on_demand", default=0)

BEGUN = given(ChatStarted(user_id=ANA, seed=1, variables={"day": "monday"}), speaks())


def workflow(*references: DataReference) -> Workflow:
    return replace(NEWSROOM, references=references)


def answered(story: Story, *references: DataReference, **values: Any) -> VariablesChanged:
    asked = lookup_requests(references, story.state, KEY)
    names = {one.request_id: r.name for one, r in zip(asked, references, strict=True)}
    found = [
        DataFound(request_id=one, found=name in values, value=values.get(name))
        for one, name in names.items()
    ]
    return resolved(references, found, story.state)


def test_nothing_is_looked_up_without_a_turn_of_an_agent() -> None:
    assert due(workflow(DAY), given(ChatStarted(user_id=ANA, seed=1)).state) == ()


def test_a_reference_that_uses_another_value_is_looked_up_after_it() -> None:
    flow = workflow(MENU, DAY)
    assert due(flow, BEGUN.state) == (DAY,)
    known = BEGUN.then(answered(BEGUN, DAY, day="tuesday"))
    assert unresolved(flow, known.state) == (MENU,)
    (asked,) = lookup_requests([MENU], known.state, KEY)
    assert asked.query == {"day": "tuesday"}


def test_references_that_use_each_other_are_looked_up_together() -> None:
    one = replace(DAY, name="one", query={"a": "{{var.two}}"})
    two = replace(DAY, name="two", query={"a": "{{var.one}}"})
    assert unresolved(workflow(one, two), BEGUN.state) == (one, two)


def test_a_value_that_was_found_is_not_looked_up_again() -> None:
    known = BEGUN.then(answered(BEGUN, DAY, day="tuesday"))
    assert due(workflow(DAY), known.state) == ()
    assert known.state.variables["day"] == "tuesday"


def test_the_first_values_belong_to_no_turn() -> None:
    first = answered(BEGUN, DAY, day="tuesday")
    assert (first.turn, first.agent) == (0, RUNTIME)


@pytest.mark.parametrize("values", [{}, {"day": None}])
def test_without_a_document_the_variable_is_resolved_to_its_default(
    values: dict[str, Any],
) -> None:
    known = BEGUN.then(answered(BEGUN, DAY, **values))
    assert known.state.variables["day"] == "monday"
    assert unresolved(workflow(DAY), known.state) == ()


def test_per_phase_references_are_looked_up_once_at_the_start_of_a_turn() -> None:
    flow = workflow(MOOD)
    assert due(flow, BEGUN.state) == (MOOD,)
    known = BEGUN.then(answered(BEGUN, MOOD, mood="good"))
    assert unresolved(flow, known.state) == ()
    asked = ModelRequested(turn=1, call=0, agent=WRITER, prompt=[], digest="")
    assert due(flow, known.then(asked).state) == ()
    done = TurnCompleted(turn=1, agent=WRITER, text="Done.")
    second = known.then(asked, done, speaks(WRITER, 2))
    assert due(flow, second.state) == (MOOD,)
    assert answered(second, MOOD, mood="bad").turn == 2


def test_on_demand_references_are_not_looked_up_before_a_turn() -> None:
    assert due(workflow(STOCK), BEGUN.state) == ()


def test_a_query_that_needs_an_unknown_value_is_not_sent() -> None:
    reference = replace(MENU, query={"day": "{{var.day.name.first}}"})
    assert lookup_request(reference, {"day": "monday"}, KEY, ANA, "1") is None
    assert lookup_requests([reference], BEGUN.state, KEY) == []
    assert resolved([reference], [], BEGUN.state).changed == {"menu": "none"}


def test_a_repeated_lookup_has_the_same_request_id() -> None:
    again = [lookup_requests([DAY, MOOD], BEGUN.state, KEY) for _ in range(2)]
    assert again[0] == again[1]
    assert len({one.request_id for one in again[0]}) == 2
    assert {one.key for one in again[0]} == {KEY}


# -- placeholders ------------------------------------------------------------------------------------

KNOWN: dict[str, dict[str, Any]] = {
    "runtime": {"app_id": "acme", "user_id": "ana"},
    "var": {"n": 3, "shop": {"town": "Wien"}, "list": [1, 2], "evil": {"$gt": ""}},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{runtime.app_id}}", "acme"),
        ("{{ var.n }}", 3),
        ("{{var.list}}", [1, 2]),
        ("{{var.evil}}", {"$gt": ""}),
        ("shop-{{var.shop.town}}-{{var.n}}", "shop-Wien-3"),
        ({"a": {"b": ["{{var.n}}", 4]}}, {"a": {"b": [3, 4]}}),
        ("plain", "plain"),
        (7, 7),
    ],
)
def test_a_single_placeholder_becomes_the_value_and_one_in_a_text_its_text(
    template: Any, value: Any
) -> None:
    assert fill_placeholders(template, KNOWN) == value


@pytest.mark.parametrize("template", ["{{var.absent}}", "x {{var.shop.street}}", "{{nothing}}"])
def test_a_placeholder_without_a_value_is_an_error(template: str) -> None:
    with pytest.raises(UnknownPlaceholderError, match="has no value"):
        fill_placeholders(template, KNOWN)


def test_a_value_is_never_parsed_as_a_template() -> None:
    assert (
        fill_placeholders("{{var.x}}", {"var": {"x": "{{runtime.app_id}}"}}) == "{{runtime.app_id}}"
    )
    assert list(placeholders({"a": ["{{var.x.y}}", {"b": "{{ runtime.z }}"}]})) == [
        ("var", "x.y"),
        ("runtime", "z"),
    ]
