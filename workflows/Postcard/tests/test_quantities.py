from typing import Any

import pytest

from contracts.events.business import BusinessLogged
from services.orchestrator.testkit import Component


@pytest.mark.parametrize("answer", [{"quantity": 7_000}, {"quantity": -5}, {"price": 0}, {}])
async def test_only_quantities_that_have_a_price_are_sold(
    play: Any, answer: dict[str, int]
) -> None:
    chat = await play(
        "a birthday",
        Component({"approved": True}),
        Component(answer),
        Component({**answer, "quantity": 10}),
    )
    (order,) = chat.of(BusinessLogged)
    assert (order.metadata["quantity"], order.metadata["price"]) == ("10", 3.5)
