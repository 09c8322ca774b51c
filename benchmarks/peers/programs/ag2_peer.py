"""Bare AG2, with nothing stored: `python -m ...ag2_peer PORT MODEL_URL`."""

import asyncio
import json
import sys
from collections import defaultdict

import httpx2
from ag2 import Agent, MemoryStream, tool
from ag2.config import OpenAIConfig
from ag2.events import ModelMessageChunk

from benchmarks.peers.programs.serve import MODEL, PROMPT, QUESTION, OnText, result_of, serve


@tool
async def look_up(topic: str) -> str:
    """Look up what is known about a topic."""
    return result_of(topic)


class BareAg2:
    """An agent whose chats are streams in memory."""

    def __init__(self, model_url: str) -> None:
        config = OpenAIConfig(
            model=MODEL,
            base_url=model_url,
            api_key="none",
            streaming=True,
            http_client=httpx2.AsyncClient(
                timeout=60
            ),  # else each turn makes one, with its TLS context
        )
        self._agent = Agent("assistant", PROMPT, config=config, tools=[look_up])
        self._streams: defaultdict[str, MemoryStream] = defaultdict(MemoryStream)

    async def turn(self, chat: str, on_text: OnText) -> None:
        stream = self._streams[chat]

        async def heard(event: ModelMessageChunk) -> None:
            on_text(event.content)

        subscription = stream.where(ModelMessageChunk).subscribe(heard)
        await self._agent.ask(QUESTION, stream=stream)
        stream.unsubscribe(subscription)

    async def start(self, chat: str) -> None:
        _ = self._streams[chat]

    async def open(self, chat: str) -> bytes:
        events = [str(event) for event in await self._streams[chat].history.get_events()]
        return json.dumps(events).encode()


if __name__ == "__main__":
    asyncio.run(serve(BareAg2(sys.argv[2])))
