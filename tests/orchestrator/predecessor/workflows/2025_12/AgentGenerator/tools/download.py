"""The download centre."""

from core.workflow.outputs import ui_tools
from workflows.AgentGenerator.tools.naming import file_name


async def offer_download(title: str, context_variables=None) -> str:
    answer = await ui_tools.use_ui_tool(
        "offer_download",
        {"files": [file_name(title)]},
        context_variables.get("chat_id"),
        "AgentGenerator",
        "artifact",
    )
    return "downloaded" if answer else "ignored"
