"""The one connection of a process to NATS: it says what keeps it, proves that it hears, and ends.

nats-py's client is mended here and nowhere else; `tests/chassis/test_nats_py.py` fails as soon as
one of the mends is no longer needed.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import ParseResult

from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    ConnectionClosedError,
    ConnectionReconnectingError,
    FlushTimeoutError,
    UnexpectedEOF,
)
from nats.errors import Error as NatsError

from services.chassis.ending import end
from services.chassis.logs import SparingLog
from services.chassis.nats_access import (
    Access,
    Credentials,
    Nobody,
    NoTlsError,
    Seed,
    Token,
    UserPassword,
    trouble_in_words,
)

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2
"""How long a server may take for each step of a connect: together with a line in the log, below 3 s."""
RETRY_SECONDS = 0.25
PING_SECONDS = 2.0
"""Between two messages of the connection to itself."""
HEARD_SECONDS = 4.0
"""How long one of them may take to come back before the connection is made anew."""
LONGEST_HEARD_SECONDS = 64.0
"""The same where new connections do not help either: a message that may not be sent is never heard."""
GOING_SECONDS = 0.5
"""What is left of an end for a server that does not read any more."""

_FORBIDDEN = "permissions violation"


async def flush(nc: Client, seconds: float) -> None:
    """Return once the server has everything that was sent before: a subscription stands.

    Raises nats.errors.FlushTimeoutError, ConnectionReconnectingError or ConnectionClosedError.
    A wait of nats-py's own `flush` or `rtt` that is cancelled, or takes too long, leaves its dead
    future to the next PONG, which ends the read loop: nothing is heard any more. Ours lives on.
    """
    if nc.is_closed:
        raise ConnectionClosedError
    if not nc.is_connected:
        raise ConnectionReconnectingError
    pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(nc._send_ping(pong))  # noqa: SLF001  the public ways own the future
            await asyncio.shield(pong)
    except TimeoutError:
        raise FlushTimeoutError from None


async def listen(
    nc: Client, subject: str, on_message: Callable[[Msg], Awaitable[None]], seconds: float
) -> Subscription:
    """A subscription that stands at the server: from here on nothing is missed.

    Raises what `flush` raises; then, and when it is cancelled, nothing is subscribed.
    """
    subscription = await nc.subscribe(subject, cb=on_message)
    try:
        await flush(nc, seconds)
    except BaseException:
        if not nc.is_closed and not nc.is_draining:  # else it is gone already
            await subscription.unsubscribe()
        raise
    return subscription


class Connection(Client):
    """A client that tries for ever, says why it has to, and notices when it hears nothing."""

    def __init__(self, access: Access, name: str) -> None:
        super().__init__()
        self._access = access
        self._name = name
        self._tried = access.servers[0]
        self._why: str | None = None
        self._deaf = False
        self._closing = False
        self._leaving = False
        self._log = SparingLog(log)
        self._hearing: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """What keeps this process from NATS, for its operator; none when it hears."""
        if self.is_connected and not self._deaf:
            return None
        what = "NATS does not answer" if self._deaf else "NATS is away"
        return f"{what}: {self._why}" if self._why and not self.is_connected else what

    async def open(self) -> None:
        """Return once connected, however long that takes."""
        user = self._access.sign_in
        named = (user.user, user.password) if isinstance(user, UserPassword) else (None, None)
        try:
            await self.connect(
                list(self._access.servers),
                name=self._name,
                error_cb=self._note_trouble,
                disconnected_cb=self._note_loss,
                reconnected_cb=self._note_return,
                user=named[0],
                password=named[1],  # called at each connect
                token=user.token if isinstance(user, Token) else None,
                inbox_prefix=self._access.inbox_prefix,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RETRY_SECONDS,  # type: ignore[arg-type]  # nats-py sleeps on it
                connect_timeout=CONNECT_SECONDS,
                ping_interval=5,
                max_outstanding_pings=2,
                flusher_queue_size=0,  # a full one swallows the cancellation of who waits for it
                flush_timeout=HEARD_SECONDS,
            )
        except BaseException:
            self._drop_socket()
            raise
        self._why = None
        log.info("connected to NATS", extra={"server": self._tried})
        self._hearing = asyncio.create_task(self._keep_hearing(), name="hear NATS")

    async def leave(self, seconds: float) -> None:
        """Deliver what is written, where the server takes it within `seconds`, and close."""
        self._leaving = True
        self.options["allow_reconnect"] = False
        if self._hearing is not None:
            await end(self._hearing)
        try:
            if self.trouble is None:
                with contextlib.suppress(NatsError):
                    await flush(self, seconds)
        finally:
            self._drop_socket()  # else closing waits for a server that does not read
            await _bounded(self.close(), GOING_SECONDS)

    async def _keep_hearing(self) -> None:
        heard = asyncio.Event()

        async def hear(_: Msg) -> None:
            heard.set()

        async def ping() -> None:
            await self.publish(inbox)
            await heard.wait()

        inbox = self.new_inbox()
        await self.subscribe(inbox, cb=hear)
        patience = HEARD_SECONDS
        while True:
            await asyncio.sleep(PING_SECONDS)
            if not self._stands():
                continue
            heard.clear()
            reconnects = self.stats["reconnects"]
            if await _done_within(ping(), patience):
                self._deaf, patience = False, HEARD_SECONDS
            elif self._stands() and self.stats["reconnects"] == reconnects:
                self._deaf, patience = True, min(2 * patience, LONGEST_HEARD_SECONDS)
                self._say(f"NATS_URL {self._tried}: nothing is heard; connecting anew")
                await self.force_reconnect()

    def _stands(self) -> bool:
        return self.is_connected

    def _drop_socket(self) -> None:
        """Close without the wait for a server that does not read: it can take a quarter of an hour."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    # What follows is called by nats-py.

    async def _note_trouble(self, trouble: Exception) -> None:
        if self._leaving or self._closing:  # what fails while closing is no reason
            return
        if self.is_connected and not isinstance(trouble, OSError | UnexpectedEOF):
            self._say(f"NATS {self._tried}: {str(trouble).removeprefix('nats: ')}")
            return
        in_tls = self.is_connecting and self._server_info.get("tls_required", False)
        if in_tls and isinstance(trouble, ConnectionError):
            trouble = ssl.SSLError(*trouble.args)  # an alert that came too late to be read
        self._why = trouble_in_words(trouble, self._tried, self._access, CONNECT_SECONDS)
        self._say(f"{self._why}; trying again")

    async def _note_loss(self) -> None:
        if not self._leaving and not self._deaf and self._why is None:
            self._why = f"NATS_URL {self._tried}: the connection was lost"
            self._say(f"{self._why}; trying again")

    async def _note_return(self) -> None:
        self._why = None
        log.info("connected to NATS again", extra={"server": self._tried})

    def _say(self, line: str) -> None:
        self._log.warning(line)

    async def _connect_to_server(self, s: Srv) -> None:
        self._tried = _address(s.uri)
        self._drop_socket()  # of a try that failed: it would stay open
        await super()._connect_to_server(s)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return self._access.tls.context()

    def _connect_command(self) -> bytes:
        """The line that signs in, as the files say now."""
        if self._access.needs_tls and not self._server_info.get("tls_required"):
            raise NoTlsError
        match self._access.sign_in:
            case Seed() as seed:
                key = seed.key()
                self._public_nkey, self._signature_cb = key.public, key.sign
            case Credentials() as credentials:
                jwt, key = credentials.jwt(), credentials.key()
                self._user_jwt_cb = lambda: bytearray(jwt.encode())
                self._signature_cb = key.sign
            case Nobody() | Token() | UserPassword():
                pass
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        """nats-py closes for ever at whatever the server says, be it that a password was changed."""
        if _FORBIDDEN in err_msg.lower():
            await super()._process_err(err_msg)
            return
        trouble = NatsError(f"nats: {err_msg}")
        self._why = trouble_in_words(trouble, self._tried, self._access, CONNECT_SECONDS)
        if not self._leaving:
            self._say(f"{self._why}; trying again")
        await self._process_op_err(trouble)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002  nats-py's
        self._closing = True
        try:
            await super()._close(status, do_cbs)
        finally:
            self._closing = False

    async def _attempt_reconnect(self) -> None:
        self._drop_socket()
        await super()._attempt_reconnect()


def _address(uri: ParseResult) -> str:
    host = f"[{uri.hostname}]" if uri.hostname and ":" in uri.hostname else uri.hostname
    return f"{uri.scheme}://{host}:{uri.port}"


async def _done_within(work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether it was done in time; else it is cancelled.

    In two halves: a process that was paused finds its time over, and reads only then.
    """
    task = asyncio.create_task(work)
    try:
        for _ in range(2):
            done, _ = await asyncio.wait({task}, timeout=seconds / 2)
            if done:
                return task.exception() is None
        return False
    finally:
        if not task.done():
            await end(task)


async def _bounded(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait for it no longer; what nats-py does not let be cancelled is left to itself."""
    task = asyncio.create_task(work)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
