"""Workflows with one tool that must be called once, which stands still where a plan says."""

import json
from pathlib import Path
from typing import Any, Literal

Policy = Literal["ask", "tell", "fail", "check"]
POLICIES: tuple[Policy, ...] = ("ask", "tell", "fail", "check")

IN_TOOL = ("entered", "half done", "done", "receipt")
IN_LOG = ("before dispatch", "after dispatch", "before result", "after result")
POINTS = (*IN_LOG[:2], *IN_TOOL, *IN_LOG[2:])
"""Where a call is killed, in the order in which it reaches them."""
IN_DOUBT = frozenset((IN_LOG[1], *IN_TOOL, IN_LOG[2]))
"""Where nobody can know whether the call took effect."""
DONE_BEFORE = frozenset(("done", "receipt", "before result", "after result"))
"""Where the effect has happened already."""

_TOOL = '''
"""A charge whose effect is a line in a file; it stands still at the point of its chat's plan."""

import os
import time
from pathlib import Path
from typing import Any

from workflows.tooling import ToolRuntime

FOLDER = Path(os.environ["ONCE_TOOLS_FOLDER"])


def charge(runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    chat = context_variables["chat_id"]
    _stand_still(chat, "entered")
    begun = FOLDER / f"{chat}.begun"
    begun.write_text(runtime.idempotency_key)
    _stand_still(chat, "half done")
    with (FOLDER / f"{chat}.effects").open("a") as effects:
        effects.write(runtime.idempotency_key + "\\n")
    _stand_still(chat, "done")
    runtime.receipt({"charge": chat})
    _stand_still(chat, "receipt")
    return f"charged for {chat}"


def charged(key: str) -> dict[str, Any]:
    chat = key.split(":")[1]
    effects = FOLDER / f"{chat}.effects"
    if effects.exists() and key in effects.read_text().splitlines():
        return {"status": "done", "result": f"charged for {chat}"}
    return {"status": "not_done"}


def _stand_still(chat: str, point: str) -> None:
    plan = FOLDER / f"{chat}.plan"
    if plan.exists() and plan.read_text() == point:
        (FOLDER / f"{chat}.reached").touch()
        while plan.exists():
            time.sleep(0.02)
'''


def write_workflows(root: Path) -> None:
    """One workflow for each policy."""
    for policy in POLICIES:
        _write(root / policy.capitalize(), policy)


def _write(folder: Path, policy: Policy) -> None:
    folder.mkdir(parents=True)
    tool: dict[str, Any] = {
        "agent": "Clerk",
        "file": "shop.py",
        "function": "charge",
        "description": "Charge.",
        "effect": "once",
    }
    tool |= {"check": "charged"} if policy == "check" else {"in_doubt": policy}
    lines = [
        {"say": "One moment.", "calls": [{"tool": "charge", "arguments": {}}]},
        {"say": "Thank you: {result}"},
    ]
    workflow = {"orchestration_pattern": "DefaultPattern", "initial_agent": "Clerk"}
    files = {
        "workflow.json": {"workflow_name": policy.capitalize(), **workflow},
        "agents.json": {"agents": [{"name": "Clerk", "system_message": "You charge."}]},
        "tools.json": {"tools": [tool]},
        "demo.json": {"agents": {"Clerk": {"lines": lines}}},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "shop.py").write_text(_TOOL)
