"""The tools of the helpdesk: look up an invoice, close a ticket."""

from typing import Any

from workflows._shared.money import euros
from workflows.tooling import ToolRuntime


def find_invoice() -> dict[str, Any]:
    return {"number": "2031", "amount": euros(24), "due": "the end of the month"}


async def close_ticket(
    summary: str, runtime: ToolRuntime, context_variables: dict[str, Any]
) -> str:
    context_variables["solved"] = True
    await runtime.emit_business_event(
        "TICKET_CLOSED", summary, idempotency_key=runtime.idempotency_key
    )
    return "The ticket is closed."
