"""A pytest plugin: `pytest -p services.orchestrator.testkit.plugin`, or `mozaiks test`.

Tests of a workflow are in its folder `tests/`. The fixture `workflow` is that folder's workflow,
`play` plays a chat of it, and `check_cassette` replays a recorded one. A test may be a coroutine.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.testkit import player, replay
from services.orchestrator.testkit.player import PlayedChat


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-cassettes",
        action="store_true",
        help="write the events that are played into cassettes that differ",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, where no other plugin does."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or "asyncio" in pyfuncitem.keywords:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def workflow(request: pytest.FixtureRequest) -> Path:
    """The folder of the workflow that the test belongs to."""
    return request.path.parent.parent


@pytest.fixture
def play(workflow: Path) -> Callable[..., Awaitable[PlayedChat]]:
    """`await play(inputs, ...)`: as `testkit.play`, for the workflow of the test."""

    async def play_it(*inputs: Any, **options: Any) -> PlayedChat:
        return await player.play(workflow, inputs, **options)

    return play_it


@pytest.fixture
def check_cassette(
    workflow: Path, request: pytest.FixtureRequest
) -> Callable[[str], Awaitable[PlayedChat]]:
    """`await check_cassette("sale.json")`: replays the cassette beside the test."""
    update = bool(request.config.getoption("--update-cassettes"))

    async def check_it(name: str) -> PlayedChat:
        return await replay.check_cassette(workflow, request.path.parent / name, update=update)

    return check_it
