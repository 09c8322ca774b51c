"""The folder of a workflow that changes while a process runs it."""

import json
from pathlib import Path
from typing import Any

from contracts.ids import WorkflowName, new_process_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.code.bundle_store import BundleStore
from tests.orchestrator.agent_sets import DEMO_MODELS
from tests.story import NOON

SHOP = WorkflowName("Shop")
TILL = '''
from .pricing import PRICE


def price() -> str:
    """What a loaf costs."""
    return f"{PRICE} coins"
'''


def create_workflow_folder(root: Path, prompt: str = "You sell bread.", name: str = SHOP) -> Path:
    """The clerk answers every message with the price of a loaf."""
    folder = root / name
    (folder / "tools").mkdir(parents=True)
    write_manifest(folder, "workflow.json", {"workflow_name": name, "startup_mode": "UserDriven"})
    set_prompt(folder, prompt)
    tool = {"agent": "Clerk", "file": "till.py", "function": "price"}
    write_manifest(folder, "tools.json", {"tools": [tool]})
    set_next_speaker(folder, "user")
    lines: list[Any] = [{"say": "A moment.", "calls": [{"tool": "price"}]}, {"say": "{result}."}]
    write_manifest(folder, "demo.json", {"agents": {"Clerk": {"loop": True, "lines": lines}}})
    (folder / "tools" / "till.py").write_text(TILL)
    set_price(folder, 2)
    return folder


def write_manifest(folder: Path, file: str, content: object) -> None:
    (folder / file).write_text(json.dumps(content))


def set_prompt(folder: Path, prompt: str) -> None:
    write_manifest(folder, "agents.json", {"agents": [{"name": "Clerk", "system_message": prompt}]})


def set_next_speaker(folder: Path, target: str) -> None:
    rule = {"source_agent": "Clerk", "target_agent": target}
    write_manifest(folder, "handoffs.json", {"handoff_rules": [rule]})


def set_price(folder: Path, price: int) -> None:
    (folder / "tools" / "pricing.py").write_text(f"PRICE = {price}\n")


def version_registry(gateway: JetStreamGateway, root: Path) -> VersionRegistry:
    """The registry of a process that runs the workflows below this folder."""
    return VersionRegistry(root, DEMO_MODELS, {}, BundleStore(gateway), call_limit=25)


async def start_process(gateway: JetStreamGateway, root: Path) -> tuple[Runner, VersionRegistry]:
    """The runner and the registry of a process that has just started."""
    registry = version_registry(gateway, root)
    await registry.load()
    return Runner(gateway, registry, lambda: NOON, new_process_id()), registry
