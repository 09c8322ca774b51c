"""The tool by which the planner estimates effort."""

from typing import Any


def estimate_effort(steps: list[str], context_variables: dict[str, Any]) -> str:
    days = sum(1 + len(step) // 12 for step in steps)
    context_variables["effort_days"] = days
    return f"I count {days} days for {len(steps)} steps"
