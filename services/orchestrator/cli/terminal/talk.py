"""Talk to a chat in the terminal: show its frames, and ask the user whatever it waits for."""

from dataclasses import dataclass
from typing import Any, Protocol

from contracts.wire.frames import ChatEndedData, ErrorData
from mozaiks_client import ApiError, ServiceUnavailableError
from mozaiks_client.chat import Chat
from mozaiks_client.frames import Frame
from services.orchestrator.cli.terminal.asks import (
    COMPLETED,
    Ask,
    Component,
    Ended,
    Message,
    OpenAsks,
    Question,
)
from services.orchestrator.cli.terminal.background_chat import (
    BackgroundLoop,
    Frames,
    Interrupt,
    raising_interrupts,
)
from services.orchestrator.cli.terminal.forms import Read, Write, read_answer


class Screen(Protocol):
    """What shows a chat."""

    def show(self, frame: Frame, *, is_live: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a chat is shown, and how a line of input is read."""

    screen: Screen
    read: Read
    write: Write


def talk(loop: BackgroundLoop, chat: Chat, user: str, terminal: Terminal) -> Ended | None:
    """How the chat ended; None where the user left it by Ctrl-D.

    Ctrl-C stops a running answer; the next one raises KeyboardInterrupt, as does one when no answer is
    running. Raises ApiError and ServiceUnavailableError of the client.
    """
    frames = Frames()
    with frames.with_interrupts():  # before the first frame, so that no Ctrl-C is missed
        loop.receive(frames, chat)
        return _Talk(loop, chat, user, terminal).follow(frames)


class _Talk:
    """One chat, as it is shown and answered."""

    def __init__(self, loop: BackgroundLoop, chat: Chat, user: str, terminal: Terminal) -> None:
        self._loop = loop
        self._chat = chat
        self._terminal = terminal
        self._asks = OpenAsks(user)
        self._is_live = False
        self._is_stopping = False
        self._last_error: str | None = None

    def follow(self, frames: Frames) -> Ended | None:
        while (received := frames.next()) is not None:
            if isinstance(received, Interrupt):
                self._stop()
                continue
            self._take(received)
            while self._is_live and frames.is_empty and (ask := self._asks.next()) is not None:
                try:
                    self._answer(ask)
                except EOFError:
                    return None
        return self._asks.ended

    def _take(self, frame: Frame) -> None:
        if isinstance(frame.data, ErrorData) and frame.seq is None and not self._is_live:
            return  # the connection is refused, and the next frame raises why
        if (shown := self._without_repeated_error(frame)) is not None:
            self._terminal.screen.show(shown, is_live=self._is_live)
        self._asks.take(frame)
        self._is_live = self._is_live or frame.type == "chat.resume_boundary"

    def _without_repeated_error(self, frame: Frame) -> Frame | None:
        """One error ends a turn and then its chat: it is shown once."""
        match frame.data:
            case ErrorData(message=message) if message == self._last_error:
                return None
            case ErrorData(message=message):
                self._last_error = message
            case ChatEndedData(reason=reason) as end if reason == self._last_error:
                return frame.model_copy(
                    update={"data": end.model_copy(update={"reason": "failed"})}
                )
            case _:
                pass
        return frame

    def _stop(self) -> None:
        """Raises KeyboardInterrupt where there is nothing to stop, or it was asked for before."""
        with raising_interrupts():
            if self._is_stopping or not self._loop.call(self._chat.stop()):
                raise KeyboardInterrupt
        self._is_stopping = True

    def _answer(self, ask: Ask) -> None:
        """Raises EOFError and KeyboardInterrupt of who reads."""
        terminal = self._terminal
        terminal.screen.close()
        self._is_stopping = False
        with raising_interrupts():
            answer = read_answer(ask, terminal.read, terminal.write)
            if _is_sent(self._loop, self._chat, ask, answer, terminal.screen):
                self._asks.answered(ask)


def exit_code(ended: Ended | None) -> int:
    """0 for a chat that completed or that the user left, 1 for any other end."""
    return 0 if ended is None or ended.status == COMPLETED else 1


def _is_sent(
    loop: BackgroundLoop, chat: Chat, ask: Ask, answer: str | dict[str, Any], screen: Screen
) -> bool:
    """False where the same has to be asked again. Raises ServiceUnavailableError for a message.

    An answer that was refused because its question is not open any more is not asked for again.
    """
    try:
        loop.call(_send(chat, ask, answer))
    except ApiError as error:
        screen.note(f"not accepted: {error}")
        return not error.is_temporary and not isinstance(ask, Message)
    except ServiceUnavailableError as error:
        if isinstance(ask, Message):
            raise
        screen.note(f"not sent: {error}")
        return False
    return True


async def _send(chat: Chat, ask: Ask, answer: str | dict[str, Any]) -> None:
    match ask, answer:
        case Component(id=component), dict():
            await chat.answer_component(component, answer)
        case Question(id=question), str():
            await chat.answer(question, answer)
        case Message(), str():
            await chat.send(answer)
        case _:
            raise TypeError(f"{answer!r} does not answer {ask!r}")
