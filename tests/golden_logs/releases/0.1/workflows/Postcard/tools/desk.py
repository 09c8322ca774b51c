"""The tools of the postcard shop: show a design, let the user choose a quantity, load prices."""

from typing import Any

from workflows._shared.money import euros
from workflows.tooling import ToolRuntime

QUANTITIES = (10, 50, 100)


def load_prices(context_variables: dict[str, Any]) -> None:
    context_variables["prices"] = {str(number): round(number * 0.35, 2) for number in QUANTITIES}


async def show_design(headline: str, text: str, colour: str, runtime: ToolRuntime) -> str:
    design = {"headline": headline, "text": text, "colour": colour}
    answer = await runtime.use_ui_tool(
        "show_design", {**design, "choices": {"approved": [True, False]}, "fields": ["wish"]}
    )
    return "approved" if answer.get("approved") else f"wish: {answer.get('wish', '')}"


async def choose_quantity(runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    prices = context_variables["prices"]
    number = ""
    while number not in prices:  # a client may answer anything, also what no button offers
        answer = await runtime.use_ui_tool(
            "choose_quantity", {"prices": prices, "choices": {"quantity": list(QUANTITIES)}}
        )
        number = str(answer.get("quantity"))
    price = prices[number]
    await runtime.emit_business_event(
        "POSTCARDS_ORDERED",
        f"{number} postcards ordered",
        quantity=number,
        price=price,
        idempotency_key=runtime.idempotency_key,
    )
    return f"{number} postcards for {euros(price)} are on their way."
