"""The connection of a process to NATS: it reports problems, verifies itself, and closes in time.

All workarounds for nats-py are here; `tests/chassis/nats/test_nats_py.py` fails as soon as one of
them is no longer needed.
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

from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.nats.access import (
    Access,
    Credentials,
    NkeySeed,
    NoCredentials,
    NoTlsError,
    Token,
    UserPassword,
    describe_error,
)
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2
"""How long a server may take for each step of a connect: together with a log line, below 3 s."""
RETRY_SECONDS = 0.25
PING_SECONDS = 2.0
"""Between two messages that the connection sends to itself."""
ECHO_SECONDS = 4.0
"""How long one of them may take to return before the client reconnects."""
MAX_ECHO_SECONDS = 64.0
"""The same after reconnects that did not help: a message without permission never returns."""
CLOSE_SECONDS = 3.0
"""How long closing may take: it waits for no server, but a lost cancellation is repeated half a second later."""

_FORBIDDEN = "permissions violation"
_BLANK = " \t\n\r\x0b\x0c"
"""What bytes.strip removes."""


async def flush(nc: Client, seconds: float) -> None:
    """Return once the server has processed everything sent before, subscriptions for example.

    Raises nats.errors.FlushTimeoutError, ConnectionReconnectingError or ConnectionClosedError.
    A wait of nats-py's own `flush` or `rtt` that is cancelled, or takes too long, leaves its cancelled
    future to the next PONG, which ends the read loop: nothing is received any more. This one does not.
    And nats-py's PING overtakes what waits to be written, so that its answer confirms nothing.
    """
    if nc.is_closed:
        raise ConnectionClosedError
    if not nc.is_connected:
        raise ConnectionReconnectingError
    pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(seconds):
            _write_pending(nc)
            await asyncio.shield(nc._send_ping(pong))  # noqa: SLF001  the public ways own the future
            await asyncio.shield(pong)
    except TimeoutError:
        raise FlushTimeoutError from None


def _write_pending(client: Any) -> None:
    """As nats-py's flusher does it, in its next round."""
    commands, client._pending, client._pending_data_size = client._pending, [], 0  # noqa: SLF001
    client._transport.writelines(commands)  # noqa: SLF001


async def subscribe_confirmed(
    nc: Client, subject: str, on_message: Callable[[Msg], Awaitable[None]], seconds: float
) -> Subscription:
    """A subscription that the server has confirmed: from here on no message is missed.

    Raises what `flush` raises; then, and when it is cancelled, nothing is subscribed.
    """
    subscription = await nc.subscribe(subject, cb=on_message)
    try:
        await flush(nc, seconds)
    except BaseException:
        if not nc.is_closed and not nc.is_draining:  # else it has ended already
            await subscription.unsubscribe()
        raise
    return subscription


class Connection(Client):
    """A client that reconnects without a limit, reports why, and detects that it receives nothing."""

    def __init__(self, access: Access, name: str) -> None:
        super().__init__()
        self._access = access
        self._name = name
        self._server = access.servers[0]
        self._cause: str | None = None
        self._unresponsive = False
        self.times_deaf = 0
        """How often it received nothing although it seemed open, and was opened anew."""
        self._closing = False
        self._shutting_down = False
        self._log = RateLimitedLog(log)
        self._echo_task: asyncio.Task[None] | None = None
        self._reconnections = set[asyncio.Task[Any]]()

    @property
    def name(self) -> str:
        """The service that it belongs to."""
        return self._name

    @property
    def is_deaf(self) -> bool:
        """Whether nothing was received the last time that it was verified."""
        return self._unresponsive

    @property
    def problem(self) -> str | None:
        """Why NATS cannot be used, for the operator of this process; None while it can."""
        if self.is_connected and not self._unresponsive:
            return None
        what = "NATS does not answer" if self._unresponsive else "NATS is unavailable"
        return f"{what}: {self._cause}" if self._cause and not self.is_connected else what

    async def open(self) -> None:
        """Return once connected, however long that takes."""
        user = self._access.sign_in
        named = (user.user, user.password) if isinstance(user, UserPassword) else (None, None)
        try:
            await self.connect(
                list(self._access.servers),
                name=self._name,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
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
                flush_timeout=ECHO_SECONDS,
            )
        except BaseException:
            self._drop_socket()
            raise
        self._cause = None
        log.info("connected to NATS", extra={"server": self._server})
        self._echo_task = asyncio.create_task(self._verify_echo(), name="NATS echo")

    async def shut_down(self, seconds: float) -> None:
        """Flush, where the server accepts it within `seconds`, and close."""
        self._shutting_down = True
        self.options["allow_reconnect"] = False
        if self._echo_task is not None:
            await cancel_and_wait(self._echo_task)
        try:
            if self.problem is None:
                with contextlib.suppress(NatsError):
                    await flush(self, seconds)
        finally:
            self._drop_socket()  # else closing waits for a server that does not read
            await _bounded(self.close(), CLOSE_SECONDS)

    async def _verify_echo(self) -> None:
        received = asyncio.Event()

        async def on_echo(_: Msg) -> None:
            received.set()

        async def ping() -> None:
            await self.publish(inbox)
            await received.wait()

        inbox = self.new_inbox()
        await self.subscribe(inbox, cb=on_echo)
        limit = ECHO_SECONDS
        while True:
            await asyncio.sleep(PING_SECONDS)
            if not self._is_up():
                continue
            received.clear()
            reconnects = self.stats["reconnects"]
            if await _done_within(ping(), limit):
                self._unresponsive, limit = False, ECHO_SECONDS
            elif self._is_up() and self.stats["reconnects"] == reconnects:
                self._unresponsive, limit = True, min(2 * limit, MAX_ECHO_SECONDS)
                self.times_deaf += 1
                self._warn(f"NATS_URL {self._server}: nothing is received; reconnecting")
                await self.force_reconnect()

    def _is_up(self) -> bool:
        return self.is_connected

    def _drop_socket(self) -> None:
        """Close without waiting for a server that does not read, which can take a quarter of an hour."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    # Called by nats-py.

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """As nats-py's own, which looks at each character of each name: at a third of its time."""
        found: dict[str, str] = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            key = name.strip(_BLANK)
            if colon and key.isascii() and (not key or key.split() == [key]):
                found[key] = value.strip(_BLANK)
        return found

    async def _on_error(self, error: Exception) -> None:
        if self._shutting_down or self._closing:  # errors while closing are expected
            return
        if self.is_connected and not isinstance(error, OSError | UnexpectedEOF):
            self._warn(f"NATS {self._server}: {str(error).removeprefix('nats: ')}")
            return
        in_tls = self.is_connecting and self._server_info.get("tls_required", False)
        if in_tls and isinstance(error, ConnectionError):
            error = ssl.SSLError(*error.args)  # an alert that arrived too late to be read
        self._cause = describe_error(error, self._server, self._access, CONNECT_SECONDS)
        self._warn(f"{self._cause}; retrying")

    async def _on_disconnect(self) -> None:
        if not self._shutting_down and not self._unresponsive and self._cause is None:
            self._cause = f"NATS_URL {self._server}: the connection was lost"
            self._warn(f"{self._cause}; retrying")

    async def _on_reconnect(self) -> None:
        self._cause = None
        log.info("connected to NATS again", extra={"server": self._server})

    def _warn(self, line: str) -> None:
        self._log.warning(line)

    async def _connect_to_server(self, s: Srv) -> None:
        self._server = _address(s.uri)
        self._drop_socket()  # of an attempt that failed: it would stay open
        await super()._connect_to_server(s)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return self._access.tls.context()

    def _connect_command(self) -> bytes:
        """The CONNECT line, with the credentials that the files hold now."""
        if self._access.needs_tls and not self._server_info.get("tls_required"):
            raise NoTlsError
        match self._access.sign_in:
            case NkeySeed() as seed:
                key = seed.key()
                self._public_nkey, self._signature_cb = key.public, key.sign
            case Credentials() as credentials:
                jwt, key = credentials.jwt(), credentials.key()
                self._user_jwt_cb = lambda: bytearray(jwt.encode())
                self._signature_cb = key.sign
            case NoCredentials() | Token() | UserPassword():
                pass
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        """nats-py closes for good on any error of the server, even after a changed password."""
        if _FORBIDDEN in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = NatsError(f"nats: {err_msg}")
        self._cause = describe_error(error, self._server, self._access, CONNECT_SECONDS)
        if not self._shutting_down:
            self._warn(f"{self._cause}; retrying")
        await self._process_op_err(error)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002  nats-py's
        self._closing = True
        try:
            await self._end_reconnections()
            await super()._close(status, do_cbs)
        finally:
            self._closing = False

    async def _end_reconnections(self) -> None:
        """nats-py cancels the newest one once, which may be lost: then it opens what was closed."""
        await cancel_and_wait(*self._reconnections - _current_task())

    async def _attempt_reconnect(self) -> None:
        self._reconnections |= _current_task()
        try:
            self._drop_socket()
            await super()._attempt_reconnect()
        finally:
            self._reconnections -= _current_task()


def _address(uri: ParseResult) -> str:
    host = f"[{uri.hostname}]" if uri.hostname and ":" in uri.hostname else uri.hostname
    return f"{uri.scheme}://{host}:{uri.port}"


async def _done_within(work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether the work finished in time; else it is cancelled.

    Waits in two halves: a process that was paused finds the time over before it reads anything.
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
            await cancel_and_wait(task)


async def _bounded(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait at most `seconds`; what nats-py does not let be cancelled continues in the background."""
    task = asyncio.create_task(work)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()


def _current_task() -> set[asyncio.Task[Any]]:
    task = asyncio.current_task()
    return set() if task is None else {task}


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
