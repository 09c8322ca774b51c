"""LangGraph with its Postgres checkpointer: `python -m ...langgraph_peer PORT MODEL_URL DATABASE_URL`."""

import asyncio
import json
import sys
from typing import Any

from langchain_core.messages import AIMessageChunk, messages_to_dict
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.programs.serve import MODEL, PROMPT, QUESTION, OnText, result_of, serve

CONNECTIONS = 16


async def look_up(topic: str) -> str:
    """Look up what is known about a topic."""
    return result_of(topic)


class LangGraph:
    """A graph of a model and its tools; the thread is the chat."""

    def __init__(self, model_url: str, saver: AsyncPostgresSaver) -> None:
        tools = [tool(look_up)]
        model = ChatOpenAI(
            model=MODEL, base_url=model_url, api_key="none", streaming=True, max_retries=0
        ).bind_tools(tools)

        async def respond(state: Any) -> dict[str, Any]:
            return {"messages": [await model.ainvoke([("system", PROMPT), *state["messages"]])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", respond)
        graph.add_node("tools", ToolNode(tools))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        self._graph = graph.compile(checkpointer=saver)

    async def turn(self, chat: str, on_text: OnText) -> None:
        said = {"messages": [("user", QUESTION)]}
        config = {"configurable": {"thread_id": chat}}
        async for message, _ in self._graph.astream(said, config, stream_mode="messages"):
            if isinstance(message, AIMessageChunk) and isinstance(message.content, str):
                on_text(message.content)

    async def start(self, chat: str) -> None:
        """A thread begins with its first checkpoint."""
        config = {"configurable": {"thread_id": chat}}
        await self._graph.aupdate_state(config, {"messages": []}, as_node=START)

    async def open(self, chat: str) -> bytes:
        state = await self._graph.aget_state({"configurable": {"thread_id": chat}})
        return json.dumps(messages_to_dict(state.values["messages"])).encode()


async def main() -> None:
    _, _, model_url, database = sys.argv
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(
        database, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options, open=False
    ) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        await serve(LangGraph(model_url, saver))


if __name__ == "__main__":
    asyncio.run(main())
