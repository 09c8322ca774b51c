"""The shipped workflows, and some of the pages' own: payments to approve, a bakery, and a shop that fails."""

import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLOSED = "closed"
"""The file in the folder given below while which is there a turn of Shop fails."""
PAY = '''
def pay(euros: int) -> str:
    """Pay an invoice."""
    return f"paid {euros} euros"
'''
BAKE = '''
async def bake(runtime) -> str:
    """Ask for a bread, and bake it until the user says that it is done."""
    bread = await runtime.ask("Which bread?", options=["Rye", "Spelt"])
    await runtime.progress(40, f"{bread} is in the oven")
    await runtime.ask("Is it done?", options=["Done"])
    return bread


async def order(runtime) -> dict:
    """Let the user fill in an order."""
    payload = {"choices": {"pieces": [1, 2]}, "fields": ["name"], "price": "4 euros"}
    return await runtime.use_ui_tool("order", payload, component="OrderForm")
'''
OPEN = """
from pathlib import Path


def check(agent, messages) -> None:
    if Path({closed!r}).exists():
        raise RuntimeError("the shop is closed")
"""


def workflows_of_pages(folder: Path) -> Path:
    """The folder of all of them."""
    root = folder / "workflows"
    shutil.copytree(ROOT / "workflows", root, ignore=shutil.ignore_patterns("__pycache__"))
    _write_payments(root / "Payments")
    _write_bakery(root / "Bakery")
    _write_shop(root / "Shop", folder / CLOSED)
    return root


def _write_payments(home: Path) -> None:
    """Its agent makes four payments, each of which must be approved."""
    payments = [_calls("pay", euros=euros) for euros in (1, 2, 3, 4)]
    tool = {
        "agent": "Cashier",
        "file": "tools.py",
        "function": "pay",
        "approval": {"allow_always": True},
    }
    _write(home, PAY, "Cashier", [*payments, {"say": "All is paid."}], tools={"tools": [tool]})


def _write_bakery(home: Path) -> None:
    """Its agent shows a progress bar, asks while it is there, and then shows a form."""
    tools = [
        {"agent": "Baker", "file": "tools.py", "function": "bake"},
        {"agent": "Baker", "file": "tools.py", "function": "order", "tool_type": "UI_Tool"},
    ]
    lines = [_calls("bake"), _calls("order"), {"say": "It is baked and ordered."}]
    _write(home, BAKE, "Baker", lines, tools={"tools": tools})


def _write_shop(home: Path, closed: Path) -> None:
    hook = {
        "hook_type": "update_agent_state",
        "hook_agent": "Seller",
        "filename": "tools.py",
        "function": "check",
    }
    lines: list[Any] = [{"say": "Here you are."}]
    code = OPEN.format(closed=str(closed))
    _write(home, code, "Seller", lines, hooks={"hooks": [hook]})


def _calls(tool: str, **arguments: object) -> dict[str, Any]:
    return {"calls": [{"tool": tool, "arguments": arguments}]}


def _write(home: Path, code: str, agent: str, lines: list[Any], **more: Any) -> None:
    """A workflow of one agent, after each of whose turns it is the user's."""
    home.mkdir()
    (home / "tools.py").write_text(code)
    after_turns = {"source_agent": agent, "target_agent": "user"}
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": home.name},
        "agents": {"agents": [{"name": agent}]},
        "handoffs": {"handoff_rules": [after_turns]},
        "demo": {"agents": {agent: {"lines": lines}}},
        **more,
    }
    for name, section in sections.items():
        (home / f"{name}.json").write_text(json.dumps(section))
