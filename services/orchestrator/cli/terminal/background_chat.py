"""A chat whose frames arrive on a thread of their own.

The main thread reads lines and waits for frames: there Ctrl-C ends both, and a line is edited as in
any other program of the terminal.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from queue import SimpleQueue
from threading import Thread
from types import FrameType
from typing import Any, TypeVar

from mozaiks_client.chat import Chat
from mozaiks_client.frames import Frame

T = TypeVar("T")


class BackgroundLoop:
    """An event loop that runs on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result, or what it raises; KeyboardInterrupt of the caller's thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def receive(self, frames: "Frames", chat: Chat) -> None:
        """Begin to receive the frames of a chat, from its first event on."""
        asyncio.run_coroutine_threadsafe(frames.receive(chat), self._loop)

    def run(self) -> None:
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(_all_done(self._loop))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _all_done(loop: asyncio.AbstractEventLoop) -> None:
    rest = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    await asyncio.gather(*rest, return_exceptions=True)


@contextmanager
def background_loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    thread = Thread(target=loop.run, name="chat", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join(5)


class Interrupt:
    """Ctrl-C, as a member of the queue of frames: an exception could fall between two of them."""


class Frames:
    """The frames of one chat in order, until it has ended, and each Ctrl-C among them."""

    def __init__(self) -> None:
        self._received: SimpleQueue[Frame | Exception | Interrupt | None] = SimpleQueue()

    async def receive(self, chat: Chat) -> None:
        try:
            async with aclosing(chat.stream()) as stream:
                async for frame in stream:
                    self._received.put(frame)
        except Exception as error:  # noqa: BLE001  raised where the frames are read
            self._received.put(error)
        else:
            self._received.put(None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has arrived that was not read yet."""
        return self._received.empty()

    def next(self) -> Frame | Interrupt | None:
        """The next frame, once it is there; None after the last one. Raises what the client raises."""
        received = self._received.get()
        if isinstance(received, Exception):
            raise received
        return received

    @contextmanager
    def with_interrupts(self) -> Iterator[None]:
        """Within the block Ctrl-C raises nothing, and is among the frames."""
        with _handling_interrupts(lambda _signal, _frame: self._received.put(Interrupt())):
            yield


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt."""
    with _handling_interrupts(signal.default_int_handler):
        yield


@contextmanager
def _handling_interrupts(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
