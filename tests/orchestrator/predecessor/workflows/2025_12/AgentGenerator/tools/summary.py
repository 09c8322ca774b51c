"""Around the chat."""

from core.observability.performance_manager import get_performance_manager


def summarise(context_variables=None):
    context_variables.set("summary", f"pattern {context_variables.get('pattern')}")


def count_turn(context_variables=None):
    context_variables["turns"] = context_variables.get("turns", 0) + 1


async def flush():
    await (await get_performance_manager()).flush()
