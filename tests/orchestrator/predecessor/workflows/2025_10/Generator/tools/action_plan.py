"""The plan as an artifact."""

import logging
from typing import Any, Dict, List, Optional

from core.workflow.outputs.ui_tools import UIToolError, use_ui_tool
from logs.logging_config import get_workflow_logger

log = get_workflow_logger(workflow_name="Generator")


async def action_plan(
    title: str,
    steps: List[Dict[str, Any]],
    agent_message: str = "",
    context_variables: Optional[Any] = None,
) -> Dict[str, Any]:
    """Show the plan; the answer says whether it is accepted."""
    chat_id = context_variables.get("chat_id") if context_variables else None
    workflow = context_variables.get("workflow_name", "Generator")
    try:
        # Waits for the user, without a limit.
        answer = await use_ui_tool(
            "action_plan",
            {"title": title, "steps": steps, "agent_message": agent_message},
            chat_id=chat_id,
            workflow_name=workflow,  # the registry needs it
            display="artifact",
        )
    except UIToolError as error:
        logging.getLogger(__name__).warning("no answer: %s", error)
        return {"status": "error"}
    accepted = bool((answer.get("data") or {}).get("accepted"))
    log.info("plan answered", extra={"accepted": accepted})
    return {"status": "accepted" if accepted else "rejected"}
