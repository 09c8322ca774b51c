from typing import Any

import pytest

from services.chassis.streams.definitions import definitions
from services.chassis.streams.plan import (
    COMPRESSION_SET,
    Fixed,
    Missing,
    Outdated,
    Unreadable,
    differences,
    prevents_work,
    upgraded,
)

DEFINED = definitions(3)
EVENTS: dict[str, Any] = {
    "name": "EVENTS",
    "subjects": ["a.>", "b.>"],
    "storage": "file",
    "retention": "limits",
    "num_replicas": 3,
    "max_age": 600,
    "allow_direct": True,
    "allow_atomic": False,
    "republish": {"src": "a.*", "dest": "live.{{wildcard(1)}}"},
}


@pytest.mark.parametrize("definition", DEFINED, ids=lambda one: str(one["name"]))
def test_a_stream_as_defined_has_no_differences(definition: dict[str, Any]) -> None:
    assert differences(definition, definition) == []


@pytest.mark.parametrize("definition", DEFINED, ids=lambda one: str(one["name"]))
def test_a_missing_stream_is_named(definition: dict[str, Any]) -> None:
    [missing] = differences(definition, None)
    assert missing == Missing(definition["name"])
    assert prevents_work(missing)
    assert str(missing) == f"stream {definition['name']} is missing"


@pytest.mark.parametrize(
    "chosen",
    [
        {"max_age": 60},
        {"max_age": 0},
        {"max_age": 86400},
        {"max_bytes": 1_000_000},
        {"max_msgs": 10},
        {"max_msg_size": 10},
        {"max_consumers": 500},
        {"duplicate_window": 5},
        {"discard": "new"},
        {"num_replicas": 5},
        {"subjects": ["b.>", "c.>", "a.>"]},
        {"description": "ours"},
        {"metadata": {"team": "core"}},
        {"placement": {"cluster": "east"}},
        {"compression": "s2"},
        {"allow_atomic": True},
        {"deny_purge": True},
        {"a_field_of_a_newer_server": 1},
    ],
    ids=str,
)
def test_choices_of_an_operator_are_not_differences(chosen: dict[str, Any]) -> None:
    assert differences(EVENTS, {**EVENTS, **chosen}) == []


@pytest.mark.parametrize(
    ("found", "wanted", "needed"),
    [
        ({"num_replicas": 1}, 3, False),
        ({"subjects": ["c.>", "b.>"]}, ["c.>", "b.>", "a.>"], True),
        ({"allow_direct": False}, True, True),
        ({"republish": None}, EVENTS["republish"], True),
        ({"republish": {"src": "a.*", "dest": "old"}}, EVENTS["republish"], True),
        ({"republish": {**EVENTS["republish"], "headers_only": True}}, EVENTS["republish"], True),
    ],
    ids=str,
)
def test_an_update_sets_what_is_missing_and_nothing_else(
    found: dict[str, Any], wanted: object, *, needed: bool
) -> None:
    [field] = found
    stream = {**EVENTS, **found, "max_bytes": 5, "a_field_of_a_newer_server": 1}
    differing = differences(EVENTS, stream)
    assert differing == [Outdated("EVENTS", field, found[field], wanted)]
    assert prevents_work(differing[0]) is needed
    after = upgraded(stream, [one for one in differing if isinstance(one, Outdated)])
    assert after == {**stream, field: wanted}
    assert differences(EVENTS, after) == []


@pytest.mark.parametrize(
    "found",
    [
        {"storage": "memory"},
        {"retention": "workqueue"},
        {"max_msgs_per_subject": 1},
        {"sealed": True},
        {"no_ack": True},
        {"mirror": {"name": "OTHER"}},
    ],
    ids=str,
)
def test_fields_that_no_update_may_change_are_reported_and_left(found: dict[str, Any]) -> None:
    [field] = found
    [fixed] = differences(EVENTS, {**EVENTS, **found})
    assert fixed == Fixed("EVENTS", field, found[field], EVENTS.get(field))
    assert not prevents_work(fixed)
    assert f"EVENTS.{field} is " in str(fixed)


COMPRESSED: dict[str, Any] = {**EVENTS, "compression": "s2", "metadata": {COMPRESSION_SET: "s2"}}


@pytest.mark.parametrize("before", [{}, {"compression": "none"}], ids=str)
def test_a_stream_of_an_earlier_release_is_compressed_once(before: dict[str, Any]) -> None:
    earlier = {**EVENTS, **before, "metadata": {"team": "core"}}
    [change] = differences(COMPRESSED, earlier)
    assert isinstance(change, Outdated)
    assert (change.field, change.wanted) == ("compression", "s2")
    assert not prevents_work(change)
    after = upgraded(earlier, [change])
    assert after["metadata"] == {"team": "core", COMPRESSION_SET: "s2"}
    assert differences(COMPRESSED, after) == []


@pytest.mark.parametrize(
    "chosen",
    [
        {"compression": "none", "metadata": {COMPRESSION_SET: "s2"}},
        {"compression": "s2"},
        {"compression": "s2", "metadata": {"team": "core"}},
    ],
    ids=str,
)
def test_the_compression_that_an_operator_chose_stays(chosen: dict[str, Any]) -> None:
    assert differences(COMPRESSED, {**EVENTS, **chosen}) == []


def test_a_difference_names_the_stream_the_field_and_both_values() -> None:
    found = {**EVENTS, "num_replicas": 1, "allow_direct": False, "republish": None}
    assert [str(one) for one in differences(EVENTS, {**found, "storage": "memory"})] == [
        "EVENTS.num_replicas is 1, 3 is needed",
        "EVENTS.allow_direct is false, true is needed",
        "EVENTS.republish is unset, a.* to live.{{wildcard(1)}} is needed",
        "EVENTS.storage is memory where file is defined, which an update cannot change",
    ]
    refused = Outdated("EVENTS", "num_replicas", 1, 3, "no room")
    assert str(refused) == "EVENTS.num_replicas is 1, 3 is needed: no room"


@pytest.mark.parametrize("source", ["mozaiks.evt.*.*.*", "mozaiks.delta.*.*"])
def test_a_stream_of_an_earlier_development_version_is_reported_and_not_upgraded(
    source: str,
) -> None:
    earlier = {**EVENTS, "republish": {"src": source, "dest": "mozaiks.live.>"}}
    [refused] = differences(EVENTS, earlier)
    assert refused == Unreadable("EVENTS")
    assert prevents_work(refused)
    assert "earlier development version" in str(refused)
    assert "DATA_DIR" in str(refused)
