"""Agno with its Postgres storage: `python -m ...agno_peer PORT MODEL_URL DATABASE_URL`."""

import asyncio
import json
import sys
import time

from agno.agent import Agent
from agno.db.postgres import AsyncPostgresDb
from agno.models.openai import OpenAIChat
from agno.run.agent import RunContentEvent
from agno.session import AgentSession

from benchmarks.peers.programs.serve import MODEL, PROMPT, QUESTION, OnText, result_of, serve

EVERY_RUN = 1_000_000
"""Runs of a session that are in its history: all of them, as for every other peer."""


def look_up(topic: str) -> str:
    """Look up what is known about a topic."""
    return result_of(topic)


class Agno:
    """An agent whose sessions are the chats."""

    def __init__(self, model_url: str, database: AsyncPostgresDb) -> None:
        self._database = database
        self._agent = Agent(
            id="assistant",
            model=OpenAIChat(id=MODEL, base_url=model_url, api_key="none"),
            db=database,
            tools=[look_up],
            instructions=PROMPT,
            add_history_to_context=True,
            num_history_runs=EVERY_RUN,
            telemetry=False,
        )

    async def turn(self, chat: str, on_text: OnText) -> None:
        async for event in self._agent.arun(QUESTION, session_id=chat, user_id=chat, stream=True):
            if isinstance(event, RunContentEvent) and isinstance(event.content, str):
                on_text(event.content)

    async def start(self, chat: str) -> None:
        now = int(time.time())
        session = AgentSession(chat, "assistant", user_id=chat, created_at=now, updated_at=now)
        await self._database.upsert_session(session)

    async def open(self, chat: str) -> bytes:
        messages = await self._agent.aget_session_messages(session_id=chat)
        return json.dumps([message.to_dict() for message in messages]).encode()


async def main() -> None:
    _, _, model_url, database = sys.argv
    url = database.replace("postgresql", "postgresql+psycopg_async", 1)
    await serve(Agno(model_url, AsyncPostgresDb(db_url=url)))


if __name__ == "__main__":
    asyncio.run(main())
