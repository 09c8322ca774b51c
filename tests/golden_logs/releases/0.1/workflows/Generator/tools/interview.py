"""The tool by which the interviewer asks the user."""

from typing import Any

from workflows.tooling import ToolRuntime


async def ask_user(question: str, runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    answer = await runtime.ask(question)
    context_variables["idea"] = answer
    return answer
