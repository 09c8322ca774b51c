"""A backup has everything that nothing else can bring back, in an order that loses nothing."""

from datetime import UTC, datetime, timedelta

from contracts import subjects
from services.chassis.streams.definitions import definitions
from services.persistence.domain.backup_plan import (
    ARCHIVES,
    DERIVED,
    BackupFile,
    Manifest,
    restored_config,
    steps,
)

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
DEFINED = [str(config["name"]) for config in definitions(1)]
SPREAD = ["EVENTS_16", "EVENTS_32", "EVENTS_48"]


def file(name: str, minutes: int) -> BackupFile:
    at = NOON + timedelta(minutes=minutes)
    return BackupFile(
        name=name, kind="stream", path=name, taken_at=at, entries=1, size=1, sha256=""
    )


def test_every_stream_is_saved_or_known_to_be_made_again() -> None:
    saved = {name for kind, name in steps(DEFINED) if kind == "stream"}
    assert saved | DERIVED == set(DEFINED)
    assert not saved & DERIVED


def test_streams_of_others_in_the_same_account_are_not_saved() -> None:
    assert steps([*DEFINED, "ORDERS"]) == steps(DEFINED)


def test_what_events_refer_to_is_saved_after_them_and_their_commands_before() -> None:
    order = [name for _, name in steps([*DEFINED, *SPREAD])]
    assert order[:5] == [subjects.COMMANDS, subjects.EVENTS, *SPREAD]
    assert order[5:7] == list(ARCHIVES)
    assert order[-1] == subjects.bucket_stream(subjects.ERASURES)
    assert len(order) == len(set(order))


def test_a_stream_that_does_not_exist_is_not_asked_for() -> None:
    assert steps([subjects.EVENTS]) == [
        ("stream", subjects.EVENTS),
        *(("collection", name) for name in ARCHIVES),
    ]


def test_a_backup_is_as_old_as_the_oldest_of_its_events() -> None:
    files = (file("COMMANDS", 0), file("EVENTS", 2), file("EVENTS_32", 1), file("BUSINESS", 3))
    manifest = Manifest(format=1, layout=4, began_at=NOON, ended_at=NOON, files=files)
    assert manifest.as_of == NOON + timedelta(minutes=1)


def test_a_stream_is_restored_with_the_replicas_that_there_are_here() -> None:
    config = {"name": "EVENTS", "num_replicas": 3, "placement": {"cluster": "a"}, "max_age": 5}
    assert restored_config(config, 1) == {"name": "EVENTS", "num_replicas": 1, "max_age": 5}
