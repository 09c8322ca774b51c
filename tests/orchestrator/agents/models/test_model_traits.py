"""What is remembered of what providers refuse."""

from contracts.events.turn import ResponseFormat
from services.orchestrator.agents.models.model_traits import FormatKey, ModelKey, ModelTraits

MODEL = ModelKey("https://one.example/v1", "m")
OTHER = ModelKey("https://two.example/v1", "m")


def formats(traits: ModelTraits, model: ModelKey = MODEL, schema: str = "Order") -> tuple[str, str]:
    """The form that is asked for without tools, and beside them."""
    return (
        traits.response_format(model, schema, beside_tools=False),
        traits.response_format(model, schema, beside_tools=True),
    )


def test_a_schema_is_asked_for_until_it_is_refused() -> None:
    assert formats(ModelTraits()) == ("json_schema", "json_schema")


def test_what_one_model_refuses_is_asked_of_others() -> None:
    traits = ModelTraits()
    traits.note_refused_format(FormatKey(MODEL, beside_tools=False), "json_schema")
    assert formats(traits) == ("json_object", "json_object")
    assert formats(traits, OTHER) == ("json_schema", "json_schema")
    traits.note_refused_format(FormatKey(MODEL, beside_tools=False), "json_object")
    assert formats(traits) == ("text", "text")


def test_what_is_refused_beside_tools_is_asked_for_without_tools() -> None:
    traits = ModelTraits()
    traits.note_refused_format(FormatKey(MODEL, beside_tools=True), "json_object")
    assert formats(traits) == ("json_schema", "text")


def test_a_refused_schema_lowers_the_form_for_this_schema_only() -> None:
    traits = ModelTraits()
    traits.note_refused_format(FormatKey(MODEL, beside_tools=False, schema="Order"), "json_schema")
    assert formats(traits) == ("json_object", "json_object")
    assert formats(traits, schema="Draft") == ("json_schema", "json_schema")


def test_a_late_refusal_of_a_higher_form_changes_nothing() -> None:
    traits = ModelTraits()
    refused: ResponseFormat
    for refused in ("json_object", "json_schema"):
        traits.note_refused_format(FormatKey(MODEL, beside_tools=False), refused)
    assert formats(traits) == ("text", "text")


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    traits = ModelTraits(max_entries=3)
    for number in range(10):
        model = ModelKey("https://one.example", f"m{number}")
        traits.note_refused_format(FormatKey(model, beside_tools=False), "json_schema")
        traits.note_context_window(model, 8192)
    oldest, newest = (ModelKey("https://one.example", name) for name in ("m0", "m9"))
    assert (formats(traits, oldest)[0], traits.context_window(oldest)) == ("json_schema", None)
    assert (formats(traits, newest)[0], traits.context_window(newest)) == ("json_object", 8192)
