"""Which worker runs what, and in which order: those files together that share a process."""

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

GROUPS = {
    "forked": (  # from one process that has imported all services: see tests/forked.py
        "tests/system/test_kill_and_resume.py",
        "tests/system/test_chaos.py",
        "tests/system/test_native_kill_and_resume.py",
        "tests/system/test_interruptions.py",
        "tests/system/test_escalation.py",
        "tests/chassis/process/test_server.py",
        "tests/chassis/process/test_stopping.py",
        "tests/budget_kills/test_run.py",
        "tests/once_tools/test_run.py",
    ),
    "product": (  # with the lines of the demo model: see tests/system/conftest.py
        "tests/system/test_beside_a_workflow.py",
        "tests/system/test_budget.py",
        "tests/system/test_deleted_streams.py",
        "tests/system/test_inbox.py",
        "tests/system/test_traces.py",
    ),
}
"""The files of a group are run by one worker: what they share takes longer to start than most of them.

A mark would not do: pytest-xdist 3.8 writes it into ids that pytest 9.2 does not let it change.
"""
LONGEST = (
    "tests/browser/test_console.py",
    "forked",
    "tests/system/test_quick_answers.py",
    "product",
    "tests/system/test_whole_product.py",
    "tests/browser/test_operators_pages.py",
    "tests/system/test_alerts.py",
    "tests/transport/http/test_api_document.py",
    "tests/chassis/streams/test_spread.py",
    "tests/docs/test_readme.py",
    "tests/transport/auth/test_every_route.py",
)
"""Groups and files to begin with: at the end one worker would be left alone with them."""
SLOWEST_FIRST = ("browser", "system", "infra", "chassis", "persistence", "orchestrator")
"""Folders whose other files come next.

Their files take turns, as some of them need processors and others wait.
"""
_GROUP_OF = {file: group for group, files in GROUPS.items() for file in files}


class ByGroupOrFile(LoadScopeScheduling):  # type: ignore[misc]
    """One worker has all tests of a group, or of a file that is in none."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The group of a test, or its file."""
    file = nodeid.partition("::")[0]
    return _GROUP_OF.get(file, file)


def slowest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests in the order in which workers get them."""
    turns: defaultdict[str, dict[str, int]] = defaultdict(dict)
    ranked = [(_rank(group_of(item.nodeid), turns), item) for item in items]
    return [item for _, item in sorted(ranked, key=lambda one: one[0])]


def _rank(group: str, turns: dict[str, dict[str, int]]) -> tuple[int, int, int]:
    """Its place among the longest; else its turn among the files of its folder, and the folder's place."""
    if group in LONGEST:
        return 0, LONGEST.index(group), 0
    folder = PurePath(group).parts[1]
    if folder not in SLOWEST_FIRST:
        return 1, sys.maxsize, 0
    turn = turns[folder].setdefault(group, len(turns[folder]))
    return 1, turn, SLOWEST_FIRST.index(folder)
