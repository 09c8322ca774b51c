"""Retry, edit and rewind over a WebSocket."""

from contracts.ids import Seq
from contracts.wire import client_messages as messages
from contracts.wire.frames import KeptEffect, RewindKind, RewindUnconfirmedData
from services.transport.chats.rewinds import Edit, GoBack, Retry, Rewind, RewindError
from services.transport.context import RequestContext
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.frame_encoding import Frame
from services.transport.websocket.connection import SocketConnection

RewindMessage = messages.Retry | messages.Edit | messages.Rewind


async def handle_rewind(
    context: RequestContext, view: ChatView, message: RewindMessage, connection: SocketConnection
) -> None:
    """Send the command; the chat's events show what becomes of it. Raises ApiError.

    Where it would not undo what tools have done, a frame names that, and nothing is sent.
    """
    seen = None if message.seen_seq is None else Seq(message.seen_seq)
    kind, wanted = _wanted(message)
    try:
        await context.rewinds.send(view, wanted, confirm=message.confirm, seen=seen)
    except RewindError as error:
        if not error.effects:
            raise
        await connection.send(Frame(_unconfirmed(kind, error)))


def _wanted(message: RewindMessage) -> tuple[RewindKind, Rewind]:
    match message:
        case messages.Retry():
            return "retry", Retry()
        case messages.Edit(message_seq=seq, text=text):
            return "edit", Edit(Seq(seq), text)
        case messages.Rewind(to_seq=to_seq):
            return "rewind", GoBack(Seq(to_seq))


def _unconfirmed(kind: RewindKind, error: RewindError) -> RewindUnconfirmedData:
    return RewindUnconfirmedData(
        kind=kind,
        message=str(error),
        effects=[
            KeptEffect(
                seq=one.seq,
                agent=one.agent,
                tool=one.tool,
                effect=one.effect,
                outcome=one.outcome,
                arguments=one.arguments,
            )
            for one in error.effects
        ],
    )
