from typing import Any

from contracts.events.business import BusinessLogged
from services.orchestrator.testkit import Component


async def test_a_design_is_changed_once_approved_and_ordered_at_todays_price(play: Any) -> None:
    chat = await play(
        "a birthday",
        Component({"approved": False, "wish": "warmer"}),
        Component({"approved": True}),
        Component({"quantity": 50}),
    )
    (order,) = chat.of(BusinessLogged)
    assert (order.metadata["quantity"], order.metadata["price"]) == ("50", 17.5)
    assert "50 postcards for 17.50 euros" in chat.texts[-1]
    assert chat.ended == "completed"
