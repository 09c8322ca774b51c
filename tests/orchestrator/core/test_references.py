"""Variables whose values lie elsewhere: when they are asked for, by what, and what becomes of them."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.events.chat import ChatStarted
from contracts.events.turn import RUNTIME, ModelRequested, TurnCompleted, VariablesChanged
from contracts.lookups import DataFound
from services.orchestrator.references import due, missing, queries, question, settled
from services.orchestrator.workflows.references import NoSuchValueError, filled, placeholders
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
    asked = queries(references, story.state, KEY)
    names = {one.request_id: r.name for one, r in zip(asked, references, strict=True)}
    found = [
        DataFound(request_id=one, found=name in values, value=values.get(name))
        for one, name in names.items()
    ]
    return settled(references, found, story.state)


def test_nothing_is_asked_where_nobody_is_to_speak() -> None:
    assert due(workflow(DAY), given(ChatStarted(user_id=ANA, seed=1)).state) == ()


def test_what_is_found_by_another_value_waits_for_that_one() -> None:
    flow = workflow(MENU, DAY)
    assert due(flow, BEGUN.state) == (DAY,)
    known = BEGUN.then(answered(BEGUN, DAY, day="tuesday"))
    assert missing(flow, known.state) == (MENU,)
    (asked,) = queries([MENU], known.state, KEY)
    assert asked.query == {"day": "tuesday"}


def test_two_that_wait_for_each_other_wait_for_nobody() -> None:
    one = replace(DAY, name="one", query={"a": "{{var.two}}"})
    two = replace(DAY, name="two", query={"a": "{{var.one}}"})
    assert missing(workflow(one, two), BEGUN.state) == (one, two)


def test_a_value_that_was_found_is_not_asked_for_again() -> None:
    known = BEGUN.then(answered(BEGUN, DAY, day="tuesday"))
    assert due(workflow(DAY), known.state) == ()
    assert known.state.variables["day"] == "tuesday"


def test_the_first_answers_are_of_no_agents_turn() -> None:
    first = answered(BEGUN, DAY, day="tuesday")
    assert (first.turn, first.agent) == (0, RUNTIME)


@pytest.mark.parametrize("values", [{}, {"day": None}])
def test_where_nothing_is_found_the_default_is_the_value_and_that_is_settled(
    values: dict[str, Any],
) -> None:
    known = BEGUN.then(answered(BEGUN, DAY, **values))
    assert known.state.variables["day"] == "monday"
    assert missing(workflow(DAY), known.state) == ()


def test_a_phase_asks_again_once_and_not_in_the_middle_of_a_turn() -> None:
    flow = workflow(MOOD)
    assert due(flow, BEGUN.state) == (MOOD,)
    known = BEGUN.then(answered(BEGUN, MOOD, mood="good"))
    assert missing(flow, known.state) == ()
    asked = ModelRequested(turn=1, call=0, agent=WRITER, prompt=[], digest="")
    assert due(flow, known.then(asked).state) == ()
    done = TurnCompleted(turn=1, agent=WRITER, text="Done.")
    second = known.then(asked, done, speaks(WRITER, 2))
    assert due(flow, second.state) == (MOOD,)
    assert answered(second, MOOD, mood="bad").turn == 2


def test_what_a_tool_may_want_is_not_asked_for_before() -> None:
    assert due(workflow(STOCK), BEGUN.state) == ()


def test_a_question_that_depends_on_nothing_known_is_not_asked() -> None:
    reference = replace(MENU, query={"day": "{{var.day.name.first}}"})
    assert question(reference, {"day": "monday"}, KEY, ANA, "1") is None
    assert queries([reference], BEGUN.state, KEY) == []
    assert settled([reference], [], BEGUN.state).changed == {"menu": "none"}


def test_a_repeated_question_is_the_same_question() -> None:
    again = [queries([DAY, MOOD], BEGUN.state, KEY) for _ in range(2)]
    assert again[0] == again[1]
    assert len({one.request_id for one in again[0]}) == 2
    assert {one.key for one in again[0]} == {KEY}


# -- templates ------------------------------------------------------------------------------------

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
def test_a_placeholder_alone_is_the_value_and_among_words_its_text(
    template: Any, value: Any
) -> None:
    assert filled(template, KNOWN) == value


@pytest.mark.parametrize("template", ["{{var.absent}}", "x {{var.shop.street}}", "{{nothing}}"])
def test_a_placeholder_for_nothing_is_no_value(template: str) -> None:
    with pytest.raises(NoSuchValueError, match="has no value"):
        filled(template, KNOWN)


def test_a_value_is_never_read_as_a_template() -> None:
    assert filled("{{var.x}}", {"var": {"x": "{{runtime.app_id}}"}}) == "{{runtime.app_id}}"
    assert list(placeholders({"a": ["{{var.x.y}}", {"b": "{{ runtime.z }}"}]})) == [
        ("var", "x.y"),
        ("runtime", "z"),
    ]
