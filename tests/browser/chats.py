"""Chats that the page is tested with, appended as events: talks, chats of every state, and one that runs."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contracts.deltas import Delta
from contracts.events import Event
from contracts.ids import AgentName, AppId, ChatKey, UserId, WorkflowName, new_chat_id
from services.chassis.settings import Settings
from tests.gateway import connected_gateway
from tests.transport.story import DONE, RESPONDED, SELECTED, STARTED, Chat, user_message

USER = UserId("56132")
"""Of a page where nobody signs in."""

RICH = """# A heading

Some **bold**, *slanted* and ~~struck~~ words, `code`, a [link](https://example.com/page) and $x^2 + y_1$. It costs $5 or $10.

| Bread | Price |
|:--|--:|
| Rye | 4 |
| Spelt | 6 |

- [x] done
- [ ] to do

$$
\\int_0^1 x\\,dx = \\frac{1}{2}
$$

```python
def bake(bread: str) -> str:
    return f"fresh {bread}"
```

> A quotation.
"""

HOSTILE = """<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">

[a](javascript:window.hacked=3) [b](JaVaScRiPt:window.hacked=4) [c](data:text/html,<script>window.hacked=5</script>)
![picture](https://example.com/spy.png "onload=window.hacked=6") <iframe src="javascript:window.hacked=7"></iframe>

<a href="javascript:window.hacked=8" onclick="window.hacked=9">d</a> <svg/onload=window.hacked=10>

$\\href{javascript:window.hacked=11}{x}$ $\\htmlStyle{position:fixed}{y}$

```html
<script>window.hacked = 12</script>
```

| <img src=x onerror=window.hacked=13> | b |
|--|--|
| `</code><script>window.hacked=14</script>` | [x]: javascript:window.hacked=15 |
"""


def append_chat(nats: Settings, turns: list[tuple[str, str]]) -> ChatKey:
    """A chat of HelloWorld, of what the user and the agent say in turn: four events each."""
    return append_events(nats, [_said(turn, *words) for turn, words in enumerate(turns, start=1)])


def _said(turn: int, asked: str, answered: str) -> list[Event]:
    number = {"turn": turn, "agent": AgentName("Greeter")}
    return [
        user_message(asked),
        SELECTED.model_copy(update=number),
        RESPONDED.model_copy(update={**number, "text": answered}),
        DONE.model_copy(update=number),
    ]


def append_events(
    nats: Settings,
    decisions: Sequence[Sequence[Event]],
    *,
    workflow: str = "HelloWorld",
    user: UserId = USER,
) -> ChatKey:
    """A chat that has started and then these events."""
    key = ChatKey(AppId("local-dev"), new_chat_id())

    async def append() -> None:
        async with connected_gateway(nats) as gateway:
            chat = Chat(gateway, key, workflow=WorkflowName(workflow))
            await chat.append(STARTED.model_copy(update={"user_id": user}))
            for events in decisions:
                await chat.append(*events)

    _run(append())
    return key


def publish(nats: Settings, key: ChatKey, delta: Delta) -> None:
    """What an orchestrator shows of a chat at this moment."""

    async def send() -> None:
        async with connected_gateway(nats) as gateway:
            await gateway.live.publish_delta(key, delta)
            await gateway.nc.flush()

    _run(send())


def _run(work: Coroutine[Any, Any, None]) -> None:
    with ThreadPoolExecutor(1) as thread:  # this thread may have Playwright's event loop
        thread.submit(asyncio.run, work).result()
