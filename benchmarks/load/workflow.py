"""The workflow of the load: one agent with one tool, which returns 200 bytes."""

import json
from pathlib import Path

from benchmarks.load.model import TOOL

NAME = "Load"
AGENT = "Assistant"
RESULT_BYTES = 200
MAX_TURNS = 10_000
"""Long chats are measured, too."""
_TOOL = f'''"""The tool of the load."""


def {TOOL}(topic: str) -> str:
    """Look up what is known about a topic."""
    return "x" * {RESULT_BYTES}
'''


def write_workflow(root: Path) -> None:
    """The manifest and the tool's code, in the folder `Load` below `root`."""
    folder = root / NAME
    (folder / "tools").mkdir(parents=True)
    manifest = {
        "workflow_name": NAME,
        "startup_mode": "UserDriven",
        "initial_agent": AGENT,
        "max_turns": MAX_TURNS,
    }
    agent = {"name": AGENT, "system_message": "You answer questions about bread."}
    tool = {"agent": AGENT, "file": "lookup.py", "function": TOOL}
    rule = {"source_agent": AGENT, "target_agent": "user"}
    for name, content in {
        "workflow": manifest,
        "agents": {"agents": [agent]},
        "tools": {"tools": [tool]},
        "handoffs": {"handoff_rules": [rule]},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "tools" / "lookup.py").write_text(_TOOL)
