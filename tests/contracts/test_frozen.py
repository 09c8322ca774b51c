"""Copies of frozen dataclasses with changed fields are those of the standard library."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.chat_snapshot import ChatSnapshot
from contracts.frozen import replace, write
from contracts.ids import Seq
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn
from services.transport.protocol.chat_projection import ChatView


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True)
class Point3(Point):
    z: int = 0


@dataclass(frozen=True)
class Loose:
    x: int


@dataclass(frozen=True, slots=True)
class Checked:
    x: int

    def __post_init__(self) -> None:
        raise ValueError(self.x)


def test_a_copy_has_the_changed_fields_and_the_others_of_the_original() -> None:
    original = Point3(1, 2, 3)
    copy = replace(original, y=9)
    assert copy == Point3(1, 9, 3)
    assert type(copy) is Point3
    assert original == Point3(1, 2, 3)


def test_a_copy_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(Point(1), x=2).x = 3  # type: ignore[misc]


def test_a_state_is_copied_as_by_the_standard_library() -> None:
    state = ChatState(seed=7, turns=3)
    assert replace(state, seq=Seq(5)) == dataclasses.replace(state, seq=Seq(5))


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match="w"):
        replace(Point(1), w=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("record", [Loose(1), object.__new__(Checked), "text"])
def test_a_class_that_it_cannot_copy_is_refused(record: object) -> None:
    with pytest.raises(TypeError, match="is no dataclass with slots"):
        replace(record)  # type: ignore[type-var]


@pytest.mark.parametrize("kind", [ChatState, Turn, ChatSnapshot, ChatView])
def test_the_states_that_are_folded_can_be_copied(kind: type) -> None:
    fields = {field.name: index for index, field in enumerate(dataclasses.fields(kind))}
    record: Any = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(record, name, value)
    copy = replace(record)
    assert {name: getattr(copy, name) for name in fields} == fields


def test_a_copy_is_changed_in_place_and_its_original_is_not() -> None:
    original = Point3(1, 2, 3)
    copy = replace(original)
    write(copy, {"y": 9, "z": 8})
    assert (original, copy) == (Point3(1, 2, 3), Point3(1, 9, 8))
    with pytest.raises(KeyError, match="w"):
        write(copy, {"w": 1})
