"""A workflow's folder that changes under a product that runs it."""

import json
from pathlib import Path
from typing import Any

from contracts.ids import WorkflowName, new_process_id
from services.chassis.bus import Bus
from services.orchestrator.agents import demo
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.shelf import Shelf
from services.orchestrator.runner import Runner
from services.orchestrator.workflows.archive import Archive
from tests.story import NOON

SHOP = WorkflowName("Shop")
MODELS = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
TILL = '''
from .pricing import PRICE


def price() -> str:
    """What a loaf costs."""
    return f"{PRICE} coins"
'''


def shop(root: Path, prompt: str = "You sell bread.", name: str = SHOP) -> Path:
    """The clerk says what a loaf costs whenever the person says anything."""
    folder = root / name
    (folder / "tools").mkdir(parents=True)
    write(folder, "workflow.json", {"workflow_name": name, "startup_mode": "UserDriven"})
    prompted(folder, prompt)
    tool = {"agent": "Clerk", "file": "till.py", "function": "price"}
    write(folder, "tools.json", {"tools": [tool]})
    follows(folder, "user")
    lines: list[Any] = [{"say": "A moment.", "calls": [{"tool": "price"}]}, {"say": "{result}."}]
    write(folder, "demo.json", {"agents": {"Clerk": {"loop": True, "lines": lines}}})
    (folder / "tools" / "till.py").write_text(TILL)
    priced(folder, 2)
    return folder


def write(folder: Path, file: str, content: object) -> None:
    (folder / file).write_text(json.dumps(content))


def prompted(folder: Path, prompt: str) -> None:
    write(folder, "agents.json", {"agents": [{"name": "Clerk", "system_message": prompt}]})


def follows(folder: Path, target: str) -> None:
    rule = {"source_agent": "Clerk", "target_agent": target}
    write(folder, "handoffs.json", {"handoff_rules": [rule]})


def priced(folder: Path, price: int) -> None:
    (folder / "tools" / "pricing.py").write_text(f"PRICE = {price}\n")


def shelf(bus: Bus, root: Path) -> Shelf:
    """What a process has that runs the workflows below this folder."""
    return Shelf(root, MODELS, {}, Archive(bus), call_limit=25)


async def process(bus: Bus, root: Path) -> tuple[Runner, Shelf]:
    """A runner as a process has it that has just started."""
    loaded = shelf(bus, root)
    await loaded.load()
    return Runner(bus, loaded, lambda: NOON, new_process_id()), loaded
