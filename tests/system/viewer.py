"""A user of the client package who watches a chat to its end, across whatever is killed meanwhile."""

from contextlib import aclosing

from contracts.ids import ChatKey
from contracts.wire.frames import EventData
from mozaiks_client import Client
from tests.system.stage import ENDINGS, USER


async def events_shown(address: str, key: ChatKey, workflow: str = "Generator") -> list[EventData]:
    """Every event as the client shows it, in the order in which they come."""
    shown: list[EventData] = []
    async with (
        Client(address, app=key.app, user=USER) as client,
        aclosing(client.chat(key.chat, workflow).stream(events=True)) as frames,
    ):
        async for frame in frames:
            if isinstance(frame.data, EventData):
                shown.append(frame.data)
                if frame.data.type in ENDINGS:
                    break
    return shown
