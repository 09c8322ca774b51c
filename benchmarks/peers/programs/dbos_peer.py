"""DBOS, a turn as a durable workflow: `python -m ...dbos_peer PORT MODEL_URL DATABASE_URL`.

The messages of chats are in a table beside what DBOS stores. Steps are the model calls and the tool:
each stores its messages once, also where it runs again after a crash.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dbos import DBOS
from openai import AsyncOpenAI
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.programs.serve import MODEL, PROMPT, QUESTION, Heard, OnText, result_of, serve

CONNECTIONS = 16
SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    chat text NOT NULL, place bigserial, id text PRIMARY KEY, message jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_of_a_chat ON messages (chat, place);
"""
READ = "SELECT message FROM messages WHERE chat = %s ORDER BY place"
WRITE = "INSERT INTO messages (chat, id, message) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up what is known about a topic.",
        "parameters": {
            "type": "object",
            "properties": {"topic": {"type": "string"}},
            "required": ["topic"],
        },
    },
}

Message = dict[str, Any]


class Dbos:
    """Workflows of this process; where one is recovered, its text goes to Heard."""

    def __init__(self, model_url: str, pool: AsyncConnectionPool) -> None:
        self._model: Any = AsyncOpenAI(base_url=model_url, api_key="none", max_retries=0)
        self._pool = pool
        self._listeners: dict[str, OnText] = {}
        self._run = self._workflow()

    async def turn(self, chat: str, on_text: OnText) -> None:
        self._listeners[chat] = on_text
        await self._run(chat, QUESTION)

    async def start(self, chat: str) -> None:
        """A chat begins with its first message: there is nothing to make before."""
        await self._store(chat, f"{chat}:start", [{"role": "system", "content": PROMPT}])

    async def open(self, chat: str) -> bytes:
        return json.dumps(await self._read(chat)).encode()

    def _workflow(self) -> Callable[[str, str], Awaitable[None]]:
        """The turn, of plain functions: DBOS registers no bound methods."""

        async def respond(chat: str, new: Sequence[Message]) -> Message:
            return await self._call_model(chat, new)

        async def use_tool(call: dict[str, Any]) -> Message:
            arguments = json.loads(call["function"]["arguments"])
            return {"role": "tool", "tool_call_id": call["id"], "content": result_of(**arguments)}

        model, tool = DBOS.step(name="respond")(respond), DBOS.step(name="use_tool")(use_tool)

        async def turn(chat: str, question: str) -> None:
            new: list[Message] = [{"role": "user", "content": question}]
            while calls := (await model(chat, new)).get("tool_calls"):
                new = [await tool(call) for call in calls]

        run: Callable[[str, str], Awaitable[None]] = DBOS.workflow(name="turn")(turn)
        return run

    async def _call_model(self, chat: str, new: Sequence[Message]) -> Message:
        """The model's message; it is stored with those before it that are new."""
        history = [message for message in await self._read(chat) if message["role"] != "system"]
        stream = await self._model.chat.completions.create(
            model=MODEL,
            messages=[{"role": "system", "content": PROMPT}, *history, *new],
            tools=[TOOL],
            stream=True,
        )
        text, calls = "", list[dict[str, Any]]()
        async for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    text += choice.delta.content
                    self._listeners.get(chat, Heard.on_text)(choice.delta.content)
                calls += [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {
                            "name": call.function.name,
                            "arguments": call.function.arguments,
                        },
                    }
                    for call in choice.delta.tool_calls or ()
                ]
        answer: Message = {"role": "assistant", "content": text}
        if calls:
            answer["tool_calls"] = calls
        await self._store(chat, f"{DBOS.workflow_id}:{DBOS.step_id}", [*new, answer])
        return answer

    async def _read(self, chat: str) -> list[Message]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(READ, (chat,))).fetchall()
        return [message for (message,) in rows]

    async def _store(self, chat: str, origin: str, messages: Sequence[Message]) -> None:
        rows = [(chat, f"{origin}:{place}", Jsonb(one)) for place, one in enumerate(messages)]
        async with self._pool.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(WRITE, rows)


async def main() -> None:
    _, _, model_url, database = sys.argv
    DBOS(
        config={
            "name": "peer",
            "system_database_url": database.replace("postgresql", "postgresql+psycopg", 1),
            "application_version": "1",
            "log_level": "WARNING",
            "run_admin_server": False,
        }
    )
    async with AsyncConnectionPool(
        database, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False
    ) as pool:
        async with pool.connection() as connection:
            await connection.execute(SCHEMA)
        peer = Dbos(model_url, pool)
        await asyncio.to_thread(DBOS.launch)
        await serve(peer)


if __name__ == "__main__":
    asyncio.run(main())
