"""The shipped workflows, and one whose agent makes four payments, each of which must be approved."""

import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOOLS = '''
def pay(euros: int) -> str:
    """Pay an invoice."""
    return f"paid {euros} euros"
'''


def workflows_with_payments(folder: Path) -> Path:
    """The folder of all of them."""
    root = folder / "workflows"
    shutil.copytree(ROOT / "workflows", root, ignore=shutil.ignore_patterns("__pycache__"))
    home = root / "Payments"
    home.mkdir()
    (home / "payments.py").write_text(TOOLS)
    payments: list[Any] = [
        {"calls": [{"tool": "pay", "arguments": {"euros": euros}}]} for euros in (1, 2, 3, 4)
    ]
    tool = {
        "agent": "Cashier",
        "file": "payments.py",
        "function": "pay",
        "approval": {"allow_always": True},
    }
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Payments"},
        "agents": {"agents": [{"name": "Cashier"}]},
        "tools": {"tools": [tool]},
        "demo": {"agents": {"Cashier": {"lines": [*payments, {"say": "All is paid."}]}}},
    }
    for name, section in sections.items():
        (home / f"{name}.json").write_text(json.dumps(section))
    return root
