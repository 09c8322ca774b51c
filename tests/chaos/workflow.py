"""The shipped workflows, with a tool whose executions can be counted from outside."""

import shutil
from pathlib import Path

from tests.chaos.facts import Execution

SHIPPED = Path(__file__).parents[2] / "workflows"
TOOL = "estimate_effort"

_NOTING_TOOL = '''
"""The planner's arithmetic; records each execution."""

import os
import time
from typing import Any

from workflows.tooling import ToolRuntime


def estimate_effort(
    steps: list[str], runtime: ToolRuntime, context_variables: dict[str, Any]
) -> str:
    line = f"{runtime.idempotency_key} {os.getpid()} {time.time()}\\n"
    with open(os.environ["SIDE_EFFECTS"], "a") as effects:
        effects.write(line)
    time.sleep(0.2)  # so that some are interrupted
    context_variables["effort_days"] = 7
    return f"{len(steps)} days"
'''


def write_workflows(folder: Path, shipped: Path = SHIPPED) -> Path:
    """The folder of workflows: those of a release, the planner's tool replaced."""
    root = folder / "workflows"
    shutil.copytree(shipped, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "Generator" / "tools" / "planning.py").write_text(_NOTING_TOOL)
    return root


def read_executions(effects: Path) -> tuple[Execution, ...]:
    found = []
    for line in effects.read_text().splitlines():
        key, pid, at = line.rsplit(" ", 2)
        found.append(Execution(key, int(pid), float(at)))
    return tuple(found)
