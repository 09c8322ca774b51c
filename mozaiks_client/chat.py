"""One chat: send, answer, retry, edit, rewind, upload, stop, cancel, and stream what happens from any cursor on."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from contracts.ids import new_message_id
from contracts.wire.frames import ErrorData
from mozaiks_client.errors import ApiError, RewindRefusedError
from mozaiks_client.frames import Frame, Page, parse, parse_all
from mozaiks_client.http import Requests, Token, bearer, quoted
from mozaiks_client.position import Position

POLICY_VIOLATION = 1008
"""RFC 6455: the transport refuses the connection for good, and its last frame says why."""
TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105  # an error code
"""With an async `token` the next connection has a fresh one."""
OPEN_SECONDS = 10.0
FRAME_BYTES = 8 * 1024 * 1024
"""The largest event (1 MiB) with what is repeated beside `data`, escaped."""
RECONNECT_SECONDS = (0.1, 5.0)
"""The first pause before a new connection, and the longest."""


@dataclass(frozen=True, slots=True)
class EffectsPage:
    """Effects of a chat; `next` is the cursor of the next page, None at the end."""

    effects: list[dict[str, Any]]
    next: str | None


class Chat:
    """Made by `Client.start` and `Client.chat`."""

    def __init__(
        self,
        requests: Requests,
        token: Token | None,
        address: str,
        app: str,
        user: str,
        workflow: str,
        chat_id: str,
    ) -> None:
        self.id = chat_id
        self.workflow = workflow
        self._requests = requests
        self._token = token
        self._address = address
        self._app = app
        self._user = user
        path = "/".join(map(quoted, (workflow, app, chat_id, user)))
        self._path = f"/api/chats/{quoted(app)}/{quoted(chat_id)}"
        self._socket = f"{address.replace('http', 'ws', 1)}/ws/{path}"

    async def send(self, message: str, *, client_message_id: str | None = None) -> None:
        """Send a message of the user.

        It is sent again where no answer came: by its id it is in the chat once. Without an id the
        client chooses one; with one, the same message may be sent again by whoever knows it.
        Raises ApiError, ServiceUnavailableError.
        """
        path = "/".join(map(quoted, (self._app, self.id, self._user)))
        body = {"message": message, **_named(client_message_id)}
        await self._requests.send("POST", f"/chat/{path}/input", json=body, repeatable=True)

    async def answer(
        self, question_id: str, text: str, *, client_message_id: str | None = None
    ) -> None:
        """Answer a question, the `request_id` of a `chat.input_request` frame.

        The same answer may be sent again, as by `send`. Raises ApiError (404 where it is not open,
        or another answer came first), ServiceUnavailableError.
        """
        body = {
            "input_request_id": question_id,
            "user_input": text,
            "chat_id": self.id,
            **_named(client_message_id),
        }
        await self._requests.send("POST", "/api/user-input/submit", json=body, repeatable=True)

    async def answer_component(
        self, event_id: str, response: dict[str, Any], *, client_message_id: str | None = None
    ) -> None:
        """Answer a component, the `event_id` of a `chat.tool_call` frame.

        As `answer`. Raises ApiError (404 where it is not open), ServiceUnavailableError.
        """
        body = {
            "event_id": event_id,
            "response_data": response,
            "chat_id": self.id,
            **_named(client_message_id),
        }
        await self._requests.send("POST", "/api/ui-tool/submit", json=body, repeatable=True)

    async def stop(self, turn: int | None = None) -> bool:
        """Stop the running answer, and nothing else; whether one was running.

        `turn` is the one that the user saw: an answer to a later message is not stopped. May be
        repeated. Raises ApiError, ServiceUnavailableError.
        """
        path = f"{self._path}/stop"
        body = {"user_id": self._user, "turn": turn}
        answer = await self._requests.send("POST", path, json=body, repeatable=True)
        return bool(answer.json()["status"] == "accepted")

    async def cancel(self, reason: str = "") -> None:
        """End the chat. Raises ApiError (409 where it has ended), ServiceUnavailableError."""
        path = f"{self._path}/cancel"
        await self._requests.send("POST", path, json={"user_id": self._user, "reason": reason})

    async def retry(self, *, confirm: bool = False, seen_seq: int | None = None) -> int | None:
        """Run the last turn of an agent again, also after a failure or the end of the chat.

        Returns the position of `chat.rewound`, None where it is not known yet. `seen_seq` is the last
        event that the user has seen: after another one nothing happens, and the request may be
        repeated. Raises RewindRefusedError, whose `effects` need `confirm`, ApiError,
        ServiceUnavailableError.
        """
        return await self._rewind("retry", seen_seq, confirm=confirm)

    async def edit(
        self, message_seq: int, message: str, *, confirm: bool = False, seen_seq: int | None = None
    ) -> int | None:
        """Replace the user's message whose `chat.text` frame has this `seq`; agents answer the new text.

        What came after it does not count any more. As `retry`.
        """
        named: dict[str, Any] = {"message_seq": message_seq, "message": message}
        return await self._rewind("edit", seen_seq, confirm=confirm, **named)

    async def rewind(
        self, to_seq: int, *, confirm: bool = False, seen_seq: int | None = None
    ) -> int | None:
        """Go back to event `to_seq`, after which the chat waited for the user or had ended.

        As `retry`, but nothing runs until the user says something.
        """
        return await self._rewind("rewind", seen_seq, confirm=confirm, to_seq=to_seq)

    async def _rewind(self, what: str, seen_seq: int | None, **named: Any) -> int | None:
        body = {"user_id": self._user, "seen_seq": seen_seq, **named}
        path, repeatable = f"{self._path}/{what}", seen_seq is not None
        try:
            answer = await self._requests.send("POST", path, json=body, repeatable=repeatable)
        except ApiError as refused:
            match refused.body:
                case {"code": str(code), "effects": list(effects)}:
                    raise RewindRefusedError(refused, code, effects) from refused
                case _:
                    raise
        seq: int | None = answer.json()["seq"]
        return seq

    async def fork(
        self,
        seq: int | None = None,
        message: str | None = None,
        *,
        client_request_id: str | None = None,
    ) -> "Chat":
        """A new chat that goes on from event `seq`, by default the newest; this one stays as it is.

        `message` is the user's first in it. An equal `client_request_id` means the same fork; without
        one the client chooses it, so that a request whose answer was lost can be repeated. Raises
        ApiError (409 where the chat had ended before), ServiceUnavailableError.
        """
        body: dict[str, Any] = {
            "user_id": self._user,
            "client_request_id": client_request_id or new_message_id(),
        }
        body |= {} if seq is None else {"seq": seq}
        body |= {} if message is None else {"message": message}
        path = f"{self._path}/fork"
        answer = await self._requests.send("POST", path, json=body, repeatable=True)
        return Chat(
            self._requests,
            self._token,
            self._address,
            self._app,
            self._user,
            self.workflow,
            answer.json()["chat_id"],
        )

    async def state(self, at: int | None = None) -> dict[str, Any]:
        """The state after event `at`, by default the newest: variables, open_questions, speaker, ...

        See `GET /api/chats/{app}/{chat}/state`. Raises ApiError, ServiceUnavailableError.
        """
        query: dict[str, str | int] = {"user_id": self._user}
        query |= {} if at is None else {"at": at}
        path = f"{self._path}/state"
        answer = await self._requests.send("GET", path, params=query, repeatable=True)
        found: dict[str, Any] = answer.json()
        return found

    async def forks(self) -> AsyncGenerator[dict[str, Any], None]:
        """The chats that read events of this one: chat_id, origin, status, title, created_at.

        Raises ApiError, ServiceUnavailableError.
        """
        query = {"user_id": self._user}
        while True:
            path = f"{self._path}/forks"
            page = (await self._requests.send("GET", path, params=query, repeatable=True)).json()
            for fork in page["forks"]:
                yield fork
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    async def rename(self, title: str) -> None:
        """Give the chat a title. Raises ApiError, ServiceUnavailableError."""
        await self._change("rename", title=title)

    async def archive(self) -> None:
        """Take the chat out of its user's lists. Raises ApiError, ServiceUnavailableError."""
        await self._change("archive")

    async def unarchive(self) -> None:
        """Put the chat into the lists again. Raises ApiError, ServiceUnavailableError."""
        await self._change("unarchive")

    async def delete(self, *, with_forks: bool = False) -> None:
        """Stop and hide the chat, which is erased after a time of grace.

        Raises ApiError (409 where forks go on from it, without `with_forks`), ServiceUnavailableError.
        """
        query = {"user_id": self._user, "with_forks": with_forks}
        await self._requests.send("DELETE", self._path, params=query, repeatable=True)

    async def undelete(self) -> None:
        """Take the deletion back, as long as the chat is not erased.

        Raises ApiError, ServiceUnavailableError.
        """
        await self._change("undelete")

    async def _change(self, what: str, **members: Any) -> None:
        body = {"user_id": self._user, **members}
        await self._requests.send("POST", f"{self._path}/{what}", json=body, repeatable=True)

    async def upload(self, filename: str, content: bytes, *, intent: str = "context") -> str:
        """Give the chat a file; returns its attachment id. Raises ApiError, ServiceUnavailableError."""
        answer = await self._requests.send(
            "POST",
            "/api/chat/upload",
            data={
                "appId": self._app,
                "userId": self._user,
                "chatId": self.id,
                "intent": intent,
            },
            files={"file": (filename, content)},
        )
        return str(answer.json()["attachment"]["attachment_id"])

    async def download(self, attachment_id: str) -> bytes:
        """The bytes of a file of the chat. Raises ApiError, ServiceUnavailableError."""
        return await self._content("attachments", attachment_id)

    async def value(self, digest: str) -> bytes:
        """The bytes of a large value, of which a frame has the beginning (`stored_values`).

        They are JSON, text or a file: the frame has their media type. Raises ApiError,
        ServiceUnavailableError.
        """
        return await self._content("values", digest)

    async def _content(self, kind: str, name: str) -> bytes:
        path = "/".join(map(quoted, (self._app, self.id, kind, name)))
        answer = await self._requests.send(
            "GET", f"/api/chats/{path}", params={"user_id": self._user}, repeatable=True
        )
        return answer.content

    async def earlier(self, before: int, limit: int = 100, *, events: bool = False) -> Page:
        """The frames of the newest `limit` events before event `before`, at most 500.

        Of a stream with a `tail` the first `before` is the `first_sequence` of its `chat.history`.
        Raises ApiError, ServiceUnavailableError.
        """
        path = f"{self._path}/events"
        query = {"user_id": self._user, "before": before, "limit": limit, "events": int(events)}
        answer = (await self._requests.send("GET", path, params=query, repeatable=True)).json()
        return Page(parse_all(answer["frames"]), answer["first_sequence"])

    async def effects(self, cursor: str | None = None, limit: int = 50) -> EffectsPage:
        """What the chat's tools have done to the world, oldest first, at most 100 calls a page.

        Each effect is a dict: tool, redacted arguments, idempotency_key, approval, attempts, doubts,
        outcome, receipt, ... (see `GET /api/chats/{app}/{chat}/effects`). Raises ApiError,
        ServiceUnavailableError.
        """
        path = f"{self._path}/effects"
        query: dict[str, str | int] = {"user_id": self._user, "limit": limit}
        if cursor is not None:
            query["cursor"] = cursor
        answer = await self._requests.send("GET", path, params=query, repeatable=True)
        found = answer.json()
        return EffectsPage(found["effects"], found["next"])

    async def stream(
        self, after: int = 0, *, tail: int | None = None, events: bool = False
    ) -> AsyncGenerator[Frame, None]:
        """Every frame past event `after`, once and in order, until the chat has ended or failed.

        After a `chat.rewound` frame, what the frames of the events after its `to_seq` have shown does
        not count any more; a stream from the start has no such frames.

        With `tail` only those of the newest `tail` events, at most 500, and since the oldest open
        question; they come after a `chat.history` frame, which says what came before.
        A lost connection is opened again from where the stream stands, for as long as it takes;
        stop iterating (or cancel) to leave. `events` adds each event as it is stored, where the
        transport allows it. Raises ValueError for both `after` and `tail`, ApiError where the transport refuses the connection.
        """
        if tail is not None and after:
            raise ValueError("after, tail: only one of them can be given")
        position, pauses = Position(after), Pauses()
        while True:
            is_live = False
            async with aclosing(self._connection(position, tail, events=events)) as frames:
                async for frame in frames:
                    yield frame
                    pauses = Pauses()
                    is_live = is_live or frame.type == "chat.resume_boundary"
                    if is_live and frame.status:  # in the history the boundary repeats the end
                        return
            await asyncio.sleep(pauses.next())

    async def _connection(
        self, position: Position, tail: int | None, *, events: bool
    ) -> AsyncGenerator[Frame, None]:
        """What one connection brings that is new; ends with it. Raises ApiError."""
        is_tail = tail is not None and position.is_start
        start = f"tail={tail}" if is_tail else f"after={position.after}"
        query = f"{start}{'&events=1' if events else ''}"
        socket: ClientConnection | None = None
        try:
            async with connect(
                f"{self._socket}?{query}",
                subprotocols=await self._subprotocols(),
                open_timeout=OPEN_SECONDS,
                max_size=FRAME_BYTES,
                close_timeout=1,
            ) as socket:
                position.connected()
                async for frame in _received(socket):
                    for new in position.take_all(frame):
                        yield new
        except ApiError as refused:
            if refused.code != TOKEN_EXPIRED or not callable(self._token):
                raise
        except InvalidStatus as refused:
            status = refused.response.status_code
            if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ApiError(f"HTTP {status} on opening the socket", status=status) from refused
        except (OSError, TimeoutError, WebSocketException):
            return  # the stream connects again
        finally:
            if socket is not None:
                socket.transport.abort()  # where the wait for the close handshake was cancelled

    async def _subprotocols(self) -> Sequence[Subprotocol] | None:
        token = await bearer(self._token)
        return None if token is None else [Subprotocol("bearer"), Subprotocol(token)]


def _named(client_message_id: str | None) -> dict[str, str]:
    return {"client_message_id": client_message_id or new_message_id()}


async def _received(socket: ClientConnection) -> AsyncIterator[Frame]:
    """The frames of one connection. Raises ApiError where the transport closes it for good."""
    refusal: ErrorData | None = None
    try:
        async for text in socket:
            frame = parse(text)
            refusal = frame.data if isinstance(frame.data, ErrorData) else None
            yield frame
    except ConnectionClosed as closed:
        received = closed.rcvd
        if received is not None and received.code == POLICY_VIOLATION:
            detail = received.reason if refusal is None else refusal.message
            raise ApiError(detail, code=received.reason) from closed
        raise


class Pauses:
    """Growing pauses with jitter, so that many clients do not come back at once."""

    def __init__(self) -> None:
        self._next, self._longest = RECONNECT_SECONDS

    def next(self) -> float:
        pause, self._next = self._next, min(2 * self._next, self._longest)
        return pause * (0.5 + random.random() / 2)  # noqa: S311  # nothing secret
