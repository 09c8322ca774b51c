"""Forks of chats: begin a chat that goes on from an event of another one, for one identity."""

from dataclasses import dataclass

from contracts.commands import ForkChat
from contracts.events.chat import ChatForked
from contracts.forks import ForkPositionError
from contracts.ids import (
    ChatKey,
    CommandId,
    Seq,
    UserId,
    WorkflowName,
    chat_id_of_fork,
    new_chat_id,
)
from services.chassis.jetstream.forks import ForkOrigin, LocatedFork, locate_fork, read_origin
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.chats.service import ChatService
from services.transport.errors import ApiError, bad_request


@dataclass(frozen=True, slots=True)
class ForkedChat:
    """A fork whose command is stored; `confirmed` once the orchestrator has begun it.

    `seq` is the last event that it has of its origin.
    """

    key: ChatKey
    workflow: WorkflowName
    user: UserId
    seq: Seq
    reused: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """What a client asks for: `seq` None is the newest event; `message` is the user's first in it."""

    seq: Seq | None = None
    message: str | None = None
    client_request_id: str | None = None
    user: str | None = None


class ChatForks:
    """Forks chats that the identity of `chats` may access."""

    def __init__(self, gateway: JetStreamGateway, chats: ChatService) -> None:
        self._gateway = gateway
        self._chats = chats

    async def fork(self, origin: ChatKey, wanted: ForkRequest) -> ForkedChat:
        """Fork a chat, or find the fork of a request with the same `client_request_id`.

        Neither the time nor the memory that it takes depends on the length of the chat. Raises
        ApiError, InvalidIdError, NatsUnavailableError.
        """
        user, found = await self._located(origin, wanted)
        request_id = wanted.client_request_id
        chat = chat_id_of_fork(origin, user, request_id) if request_id else new_chat_id()
        key, workflow = ChatKey(origin.app, chat), found.point.workflow
        if request_id and (forked := await self._forked(key)) is not None:
            return ForkedChat(key, workflow, user, forked.seq, reused=True, confirmed=True)
        command = ForkChat(
            command_id=CommandId(f"fork-{chat}"),
            app_id=key.app,
            chat_id=chat,
            user_id=user,
            origin=origin.chat,
            seq=found.point.head.seq,
            client_request_id=request_id,
            message=wanted.message or None,
            position=found.position,
        )
        confirmed = await self._chats.begin(command)
        return ForkedChat(key, workflow, user, command.seq, reused=False, confirmed=confirmed)

    async def _located(self, origin: ChatKey, wanted: ForkRequest) -> tuple[UserId, LocatedFork]:
        """Whose chat it is, and where the fork begins; no more of a chat is read than that takes."""
        events = self._gateway.events
        view = await self._chats.find_known(origin, wanted.user, wanted.seq)
        if view is not None:
            of = ForkOrigin(view.user, view.segments)
            seq = wanted.seq or view.last_seq
            near = None if seq == view.last_seq else view.positions.at_or_before(seq)
        else:
            read = await read_origin(events, origin)
            await self._chats.require_access(
                origin, None if read is None else read.user, wanted.user
            )
            assert read is not None  # noqa: S101  checked
            of, near = read, None
            seq = wanted.seq or await events.last_seq(origin)
        try:
            found = await locate_fork(events, origin, of, seq, near)
        except ForkPositionError as impossible:
            raise ApiError("FORK_POSITION", "seq", str(impossible)) from impossible
        if found is None:
            last = await events.last_seq(origin)
            raise bad_request("seq", f"found {seq}, the chat ends at event {last}")
        return of.user, found

    async def _forked(self, key: ChatKey) -> ChatForked | None:
        found = await self._gateway.events.first(key)
        event = None if found is None else found.events[0].event
        return event if isinstance(event, ChatForked) else None
