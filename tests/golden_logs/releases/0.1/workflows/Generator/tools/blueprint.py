"""The architect's blueprint: kept in the chat, shown to the user for approval."""

from typing import Any

from workflows.tooling import ToolRuntime

APPROVE = "Approve"
CHANGE = "Change it"


async def save_blueprint(
    title: str, components: list[str], runtime: ToolRuntime, context_variables: dict[str, Any]
) -> dict[str, Any]:
    blueprint = {"title": title, "components": components}
    context_variables["blueprint"] = blueprint
    await runtime.emit_business_event(
        "BLUEPRINT_SAVED",
        f"Blueprint {title} saved",
        components=len(components),
        idempotency_key=runtime.idempotency_key,
    )
    return {"saved": True, **blueprint}


async def request_approval(runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    blueprint = context_variables.get("blueprint") or {}
    components = ", ".join(blueprint.get("components", []))
    answer = await runtime.ask(
        f"Do you approve {blueprint.get('title', 'the blueprint')} ({components})?",
        options=[APPROVE, CHANGE],
    )
    context_variables["approved"] = answer == APPROVE
    if answer == APPROVE:
        return "The user approved the blueprint."
    return f"The user wants a change: {answer}"
