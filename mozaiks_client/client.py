"""The client: one transport, one app, one user; it starts chats and opens those that exist."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from contracts.ids import new_message_id
from mozaiks_client.chat import Chat, Pauses
from mozaiks_client.chat_list import ListedChat
from mozaiks_client.errors import ApiError, ServiceUnavailableError
from mozaiks_client.explanation import Explanation
from mozaiks_client.export import ExportedChat, verified
from mozaiks_client.http import Requests, Token, quoted
from mozaiks_client.inbox import AnswerLink, InboxQuestion, questions_of

REQUEST_SECONDS = 30.0
_BINARY = getattr(os, "O_BINARY", 0)  # Windows has it


class Client:
    """Use as `async with Client("http://127.0.0.1:8000", app="acme", user="ana") as client`.

    `token` is an access token of the issuer, or an async function that returns a fresh one; none
    where sign-in is off. `timeout` bounds each call in seconds, repetitions included.
    """

    def __init__(
        self,
        address: str,
        *,
        app: str,
        user: str,
        token: Token | None = None,
        timeout: float = REQUEST_SECONDS,
    ) -> None:
        self.address = address.rstrip("/")
        self.app = app
        self.user = user
        self._token = token
        self._http = httpx.AsyncClient(base_url=self.address, timeout=timeout)
        self._requests = Requests(self._http, token, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def start(
        self,
        workflow: str,
        message: str | None = None,
        *,
        client_request_id: str | None = None,
        frontend_context: dict[str, Any] | None = None,
    ) -> Chat:
        """Start a chat; an equal `client_request_id` of the same user means the same chat.

        Without one the client chooses it, so that a request whose answer was lost can be repeated.
        Raises ApiError, ServiceUnavailableError.
        """
        body: dict[str, Any] = {
            "user_id": self.user,
            "client_request_id": client_request_id or new_message_id(),
        }
        if message is not None:
            body["message"] = message
        if frontend_context is not None:
            body["frontend_context"] = frontend_context
        path = f"/api/chats/{quoted(self.app)}/{quoted(workflow)}/start"
        answer = await self._requests.send("POST", path, json=body, repeatable=True)
        return self.chat(answer.json()["chat_id"], workflow)

    async def chats(
        self,
        search: str = "",
        *,
        place: str = "active",
        status: Sequence[str] = (),
        workflow: Sequence[str] = (),
        limit: int = 50,
    ) -> AsyncGenerator[ListedChat, None]:
        """The user's chats, the one that changed last first; `limit` is the size of a page.

        `search` are words that all occur in a title, or together in one message. `place` is `active`,
        `archived` or `deleted`. Raises ApiError, ServiceUnavailableError.
        """
        path = f"/api/users/{quoted(self.app)}/{quoted(self.user)}/chats"
        query: dict[str, Any] = {
            "search": search,
            "place": place,
            "status": list(status),
            "workflow": list(workflow),
            "limit": limit,
        }
        while True:
            answer = await self._requests.send("GET", path, params=query, repeatable=True)
            page = answer.json()
            for row in page["chats"]:
                yield ListedChat.of(row)
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    async def export(
        self, path: Path, *, user: str | None = None, chat_id: str | None = None
    ) -> list[ExportedChat]:
        """Write the chats of the app, of a user, or one chat, to a .tar file, and verify it.

        It has all that was said: a new file is readable by its own user only.
        Needs a token of an operator or of the app's back end. Raises ApiError,
        ServiceUnavailableError, DamagedExportError, OSError.
        """
        query = {name: value for name, value in (("user_id", user), ("chat_id", chat_id)) if value}
        private = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)
        with os.fdopen(private, "wb") as file:
            await self._requests.save(f"/api/exports/{quoted(self.app)}", query, file)
        return await asyncio.to_thread(verified, path)

    async def explain(self, chat_id: str) -> Explanation:
        """What a chat of the app waits for, since when, and why; needs a token of an operator.

        Raises ApiError, ServiceUnavailableError.
        """
        path = f"/api/chats/{quoted(self.app)}/{quoted(chat_id)}/explain"
        answer = await self._requests.send("GET", path, repeatable=True)
        return Explanation.model_validate_json(answer.content)

    async def inbox(
        self, *, roles: Sequence[str] = (), limit: int = 50
    ) -> AsyncGenerator[InboxQuestion, None]:
        """The open questions that the user may answer, those of the longest waiting chats first.

        `roles` are by default those of the token. Raises ApiError, ServiceUnavailableError.
        """
        query: dict[str, Any] = {"limit": limit, "role": list(roles)}
        while True:
            answer = await self._requests.send(
                "GET", self._inbox_path, params=query, repeatable=True
            )
            page = answer.json()
            for question in questions_of(page):
                yield question
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    async def watch_inbox(
        self, *, roles: Sequence[str] = (), limit: int = 50
    ) -> AsyncGenerator[tuple[InboxQuestion, ...], None]:
        """The first page of the inbox: at once, and again whenever it has changed.

        A lost connection is opened again, for as long as it takes. Raises ApiError where the transport
        refuses it.
        """
        pauses, query = Pauses(), {"limit": limit, "role": list(roles)}
        shown: tuple[InboxQuestion, ...] | None = None
        while True:
            try:
                async with aclosing(
                    self._requests.lines(f"{self._inbox_path}/events", query)
                ) as lines:
                    async for line in lines:
                        if line.startswith("data: "):
                            pauses = Pauses()
                            page = questions_of(json.loads(line.removeprefix("data: ")))
                            if page != shown:  # a new connection begins with the page
                                shown = page
                                yield page
            except ServiceUnavailableError:
                pass
            except ApiError as refused:
                if not refused.is_temporary:
                    raise
            await asyncio.sleep(pauses.next())

    async def answer(self, question: InboxQuestion, text: str) -> None:
        """Answer a question in text. Raises ApiError (404 where it is not open any more),
        ServiceUnavailableError."""
        await self._answer(question, {"text": text})

    async def decide(
        self, question: InboxQuestion, *, approved: bool, always: bool = False, reason: str = ""
    ) -> None:
        """Approve or refuse the call that a question asks about, with these arguments and no others.

        Raises ApiError (404 where it is not open any more), ServiceUnavailableError.
        """
        decision = {
            "approved": approved,
            "always": always,
            "text": reason or None,
            "arguments_digest": question.digest,
        }
        await self._answer(question, decision)

    async def answer_link(
        self, question: InboxQuestion, *, user: str | None = None, role: str | None = None
    ) -> AnswerLink:
        """A link that answers a question once; a back end names the user who will.

        Raises ApiError, ServiceUnavailableError.
        """
        body = {"user_id": user, "role": role}
        path = f"{self._question_path(question)}/link"
        found = (await self._requests.send("POST", path, json=body)).json()
        return AnswerLink(found["url"], found["expires_at"])

    async def _answer(self, question: InboxQuestion, body: dict[str, Any]) -> None:
        path = f"{self._question_path(question)}/answer"
        named = {**body, "client_request_id": new_message_id()}
        await self._requests.send("POST", path, json=named, repeatable=True)

    def _question_path(self, question: InboxQuestion) -> str:
        place = "/".join(map(quoted, (self.app, question.chat_id)))
        return f"/api/chats/{place}/questions/{quoted(question.question_id)}"

    @property
    def _inbox_path(self) -> str:
        return f"/api/inbox/{quoted(self.app)}/{quoted(self.user)}"

    def chat(self, chat_id: str, workflow: str) -> Chat:
        """A chat that exists; nothing is asked until it is used."""
        return Chat(
            self._requests, self._token, self.address, self.app, self.user, workflow, chat_id
        )
