from core.workflow.outputs.ui_tools import use_ui_tool


async def show_blueprint(name: str, screens: list[str], context_variables=None) -> dict:
    return await _shown({"name": name, "screens": screens}, context_variables)


async def _shown(payload: dict, context_variables) -> dict:
    return await use_ui_tool(
        tool_id="Blueprint",
        payload=payload,
        chat_id=context_variables.get("chat_id"),
        workflow_name="AppGenerator",
        display="inline",
    )
