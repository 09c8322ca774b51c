"""Shares of groups of modules in collapsed stacks."""

import pytest

from benchmarks.flamegraph_svg import svg
from benchmarks.stack_shares import (
    MalformedStackError,
    Share,
    Stack,
    group_of,
    read_stacks,
    shares,
    short_names,
    top,
    working,
)

MAIN = "main (app.py:1)"
STACKS = [
    Stack((MAIN, "read (log.py:4)"), 6),
    Stack((MAIN, "read (log.py:9)", "loads (json.py:2)"), 3),
    Stack((MAIN,), 1),
]


def _by_file(frame: str) -> str:
    return frame.partition("(")[2].partition(".")[0]


def test_a_group_has_its_own_samples_and_those_of_what_it_calls() -> None:
    assert shares(STACKS, _by_file) == [
        Share("app", 0.1, 1.0),
        Share("log", 0.6, 0.9),
        Share("json", 0.3, 0.3),
    ]


def test_a_group_that_occurs_twice_in_a_stack_counts_once() -> None:
    recursive = [Stack(("walk (tree.py:1)", "walk (tree.py:2)"), 4)]
    assert shares(recursive, _by_file) == [Share("tree", 1.0, 1.0)]


def test_no_sample_has_no_share() -> None:
    assert shares([], _by_file) == []


def test_the_lines_of_a_file_are_read_and_threads_without_python_are_not() -> None:
    text = "main (app.py:1);read (log.py:4) 6\nmain (app.py:1) 1\n 7\n\n"
    assert read_stacks(text) == [STACKS[0], STACKS[2]]


@pytest.mark.parametrize("line", ["main (app.py:1)", "main (app.py:1) many", "main"])
def test_a_line_without_a_count_is_refused(line: str) -> None:
    with pytest.raises(MalformedStackError, match="expected `frame;frame count`"):
        read_stacks(line)


def test_what_waits_for_work_uses_no_processor() -> None:
    epoll = "EpollSelector.select (/usr/lib/python3.11/selectors.py:468)"
    thread = "_worker (/usr/lib/python3.11/concurrent/futures/thread.py:81)"
    waits = [Stack((MAIN, epoll), 90), Stack((thread,), 80)]
    assert working([*waits, *STACKS]) == STACKS


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("/repo/services/orchestrator/agents/hooks.py:30", "services.orchestrator.agents"),
        (
            "/repo/services/orchestrator/agents/models/openai_wire/client.py:30",
            "services.orchestrator.agents.models",
        ),
        ("/repo/services/chassis/jetstream/pull.py:1", "services.chassis.jetstream"),
        ("/repo/services/transport/app.py:1", "services.transport.app"),
        ("/repo/contracts/codec.py:51", "contracts.codec"),
        ("/repo/contracts/events/turn.py:51", "contracts.events.turn"),
        ("/repo/.venv/lib/python3.11/site-packages/openai/_utils/_transform.py:340", "openai"),
        ("/repo/.venv/lib/python3.11/site-packages/typing_extensions.py:3", "typing_extensions"),
        ("/usr/lib/python3.11/asyncio/events.py:80", "asyncio"),
        ("/usr/lib/python3.11/typing.py:80", "typing"),
        ("<frozen importlib._bootstrap>:241", "other"),
        ("<string>:7", "other"),
    ],
)
def test_the_group_of_a_frame_is_its_package(file: str, group: str) -> None:
    assert group_of(f"Class.<locals>.call ({file})", "/repo") == group


def test_the_entry_of_the_program_is_no_row_of_the_table() -> None:
    found = shares(STACKS, _by_file)
    assert [share.group for share in top(found, 2, 0.2)] == ["log", "json"]


def test_the_flame_graph_has_a_box_for_each_frame_with_its_share() -> None:
    document = svg("transport", STACKS)
    assert "<title>read (log.py:4): 60.0%, 6 samples</title>" in document
    assert "transport: 10 samples" in document


def test_lines_of_a_function_become_one_frame_with_a_short_name() -> None:
    files = [
        "/repo/a/b.py:3",
        "/v/lib/python3.11/site-packages/c/d.py:4",
        "/l/lib/python3.11/e.py:5",
    ]
    stacks = [Stack(tuple(f"call ({file})" for file in files), 2)]
    assert short_names(stacks, "/repo") == [
        Stack(("call (a/b.py)", "call (c/d.py)", "call (e.py)"), 2)
    ]
