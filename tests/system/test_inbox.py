"""The inbox of the whole product: a question of a real chat appears, is answered, and is gone."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from contracts.ids import new_chat_id
from mozaiks_client import Client, InboxQuestion
from tests.system.product import Product

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(120),
]


async def until_page(
    pages: AsyncGenerator[tuple[InboxQuestion, ...], None],
    holds: Callable[[tuple[InboxQuestion, ...]], bool],
) -> tuple[InboxQuestion, ...]:
    async for page in pages:
        if holds(page):
            return page
    raise AssertionError("the stream has ended")


async def test_a_question_is_in_the_inbox_of_its_user_until_it_is_answered(
    demo_product: Product,
) -> None:
    user = f"user-{new_chat_id()}"
    async with (
        asyncio.timeout(60),
        Client(demo_product.address, app="acme", user=user) as client,
        aclosing(client.watch_inbox()) as pages,
    ):
        assert await anext(pages) == ()
        chat = await client.start("Generator")
        (question,) = await until_page(pages, lambda page: len(page) == 1)
        assert (question.chat_id, question.user_id) == (chat.id, user)
        assert [one async for one in client.inbox()] == [question]
        await client.answer(question, "A bakery app")
        await until_page(pages, lambda page: question not in page)  # it may ask another one
    assert demo_product.violations == []
