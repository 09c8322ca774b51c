"""A manifest is changed at the places that differ; comments and layout of the rest stay."""

import json
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.workflows.manifest.validation import without
from services.orchestrator.workflows.migration.manifest_edits import converted

BLOCK = """\
# The bakery.
agents:
  # Sells.
  - name: Counter
    NOTE: old  # nobody reads it
    tone: dry
  - name: Oven # bakes
    text: |
      Bake
      well.
  # The last one.
  - {name: Mill, NOTE: x, kind: 'stone'}
limits: {a: 1, b: 2}
"""
CHANGES: dict[str, tuple[set[tuple[str | int, ...]], str]] = {
    "a key": ({("agents", 0, "NOTE")}, "    NOTE: old  # nobody reads it\n"),
    "an entry": (
        {("agents", 0)},
        "  - name: Counter\n    NOTE: old  # nobody reads it\n    tone: dry\n",
    ),
    "an entry with a block of text": (
        {("agents", 1)},
        "  - name: Oven # bakes\n    text: |\n      Bake\n      well.\n",
    ),
    "a block of text": ({("agents", 1, "text")}, "    text: |\n      Bake\n      well.\n"),
    "an entry in braces": ({("agents", 2)}, "  - {name: Mill, NOTE: x, kind: 'stone'}\n"),
    "a key in braces": ({("agents", 2, "NOTE")}, ", NOTE: x"),
    "the first key of an entry": ({("agents", 0, "name")}, "name: Counter\n    "),
    "the first key in braces": ({("limits", "a")}, "a: 1, "),
    "a section": ({("limits",)}, "limits: {a: 1, b: 2}\n"),
}


@pytest.mark.parametrize(("removed", "gone"), CHANGES.values(), ids=CHANGES.keys())
def test_what_is_removed_is_all_that_changes(
    removed: set[tuple[str | int, ...]], gone: str
) -> None:
    wanted = without(yaml.safe_load(BLOCK), removed)
    assert BLOCK.count(gone) == 1
    assert converted(BLOCK, is_json=False, value=wanted) == (BLOCK.replace(gone, ""), True)


def test_keys_are_renamed_added_and_values_replaced_where_they_stand() -> None:
    text = "# outputs\nfields:\n  kind: {allowed_values: [a], type: literal}  # two\nto: old\n"
    value = {
        "strictness": "lenient",
        "fields": {"kind": {"values": ["a"], "type": "str"}},
        "to": None,
    }
    assert converted(text, is_json=False, value=value) == (
        (
            '# outputs\nstrictness: "lenient"\nfields:\n'
            '  kind: {values: [a], type: "str"}  # two\nto: null\n'
        ),
        True,
    )


def test_a_json_file_keeps_its_layout() -> None:
    text = '{\n  "agents": [\n    {"name": "A", "NOTE": 1},\n    {"name": "B"}\n  ]\n}\n'
    wanted = without(json.loads(text), {("agents", 0, "NOTE"), ("agents", 1)})
    edited, is_kept = converted(text, is_json=True, value=wanted)
    assert (edited, is_kept) == ('{\n  "agents": [\n    {"name": "A"}\n  ]\n}\n', True)


def test_what_cannot_be_edited_by_positions_is_written_anew() -> None:
    text = "a: &x {b: 1}\nc: *x  # the same\n"
    edited, is_kept = converted(text, is_json=False, value={"a": {"b": 1}, "c": {"b": 2}})
    assert yaml.safe_load(edited) == {"a": {"b": 1}, "c": {"b": 2}}
    assert not is_kept


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab: #'\n", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text("abc", min_size=1), VALUES, min_size=1, max_size=4),
    st.data(),
    st.sampled_from(["block", "flow", "json"]),
)
@settings(max_examples=150)
def test_the_text_means_what_is_left_whatever_is_removed(
    value: dict[str, Any], data: st.DataObject, style: str
) -> None:
    places = [*_places(value)]
    removed = set(data.draw(st.lists(st.sampled_from(places), max_size=3)))
    wanted = without(value, removed)
    text = (
        json.dumps(value, indent=2)
        if style == "json"
        else yaml.safe_dump(value, default_flow_style=style == "flow", sort_keys=False)
    )
    edited, _ = converted(text, is_json=style == "json", value=wanted)
    assert (json.loads if style == "json" else yaml.safe_load)(edited) == wanted


def _places(value: Any, keys: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [keys] if keys else []
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in inner:
        found += _places(one, (*keys, key))
    return found
