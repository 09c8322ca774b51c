"""Create a small workflow that runs on the demo model and is easy to change."""

import json
import re
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class ScaffoldError(Exception):
    """Why the workflow was not created."""


def create_workflow(name: str, root: Path) -> Path:
    """Create a workflow below `root`; returns its folder. Raises ScaffoldError."""
    if not NAME.fullmatch(name):
        raise ScaffoldError(
            f"{name}: a workflow name starts with a letter, followed by A-Z a-z 0-9 _ -, at most 64 characters"
        )
    root.mkdir(parents=True, exist_ok=True)
    taken = [path.name for path in root.iterdir() if path.name.casefold() == name.casefold()]
    if taken:
        raise ScaffoldError(f"{root / taken[0]} already exists")
    folder = root / name
    (folder / "tools").mkdir(parents=True)
    (folder / "tests").mkdir()
    for section, content in _sections(name).items():
        (folder / section).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    (folder / "tools" / "notes.py").write_text(_TOOL_FILE)
    (folder / "tests" / "test_guide.py").write_text(_TEST_FILE)
    return folder


def _sections(name: str) -> dict[str, dict[str, Any]]:
    return {
        "workflow.json": {
            "workflow_name": name,
            "description": "A guide who listens and takes notes.",
            "orchestration_pattern": "DefaultPattern",
            "initial_agent": "Guide",
            "startup_mode": "UserDriven",
            "human_in_the_loop": True,
            "max_turns": 50,
            "initial_message_to_user": "Tell the guide what is on your mind.",
            "visual_agents": ["Guide"],
        },
        "agents.json": {
            "agents": [
                {
                    "name": "Guide",
                    "system_message": "You listen. Call take_note with what the user said in one "
                    "sentence, then answer in two sentences and end with a question.",
                }
            ]
        },
        "tools.json": {
            "tools": [
                {
                    "agent": "Guide",
                    "file": "notes.py",
                    "function": "take_note",
                    "description": "Keep one sentence for later.",
                }
            ]
        },
        "handoffs.json": {"handoff_rules": [{"source_agent": "Guide", "target_agent": "user"}]},
        "context_variables.json": {
            "definitions": {
                "notes": {
                    "description": "What the guide noted so far.",
                    "source": {"type": "state", "default": []},
                }
            },
            "agents": {"Guide": {"variables": ["notes"]}},
        },
        "demo.json": {
            "agents": {
                "Guide": {
                    "loop": True,
                    "lines": [
                        {
                            "say": "Let me write that down.",
                            "calls": [{"tool": "take_note", "arguments": {"sentence": "{user}"}}],
                        },
                        {"say": "{result} I am the demo model; what else is on your mind?"},
                    ],
                }
            }
        },
    }


_TOOL_FILE = '''"""What the guide can do; models never see the parameter `context_variables`."""

from typing import Any


def take_note(sentence: str, context_variables: dict[str, Any]) -> str:
    notes = [*context_variables.get("notes", []), sentence]
    context_variables["notes"] = notes
    return f"Noted, that makes {len(notes)}."
'''

_TEST_FILE = '''"""What becomes of a conversation, with the lines of demo.json in place of a model."""

from typing import Any


async def test_the_guide_notes_what_the_user_said(play: Any) -> None:
    chat = await play("I want to learn to sail.", "And to bake.")
    assert chat.variables["notes"] == ["I want to learn to sail.", "And to bake."]
    assert chat.texts[-1].startswith("Noted, that makes 2.")
'''
