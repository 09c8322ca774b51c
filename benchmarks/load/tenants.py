"""Tenants that send at a fixed rate: python -m benchmarks.load.tenants {quiet|noisy} RATE SECONDS ADDRESS

`quiet`: RATE new chats a second, those of QUIET_APPS apps in turn; each is watched over a WebSocket until
its first word comes. `noisy`: one app that begins RATE chats a second with a model that takes
SLOW_SECONDS for each call, and each second writes RATE messages, opens RATE sockets that stay open, and
uploads RATE files.

Nobody waits for an answer before sending more. The first line on the standard output is `ready`; the
time begins with a line on the standard input. The last line is a JSON object (Sent).
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import perf_counter

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.load.model import FIRST_WORD
from benchmarks.load.workflow import NAME
from contracts.ids import new_message_id

QUIET_APPS = 50
NOISY_APP = "noisy"
SLOW_SECONDS = 10
QUESTION = "What is known about bread, and what of it is of use to a small bakery in a town?"
SLOW_QUESTION = f"{QUESTION} Answer after {1000 * SLOW_SECONDS} ms."
FILE = b"0123456789abcdef" * 4096
GRACE_SECONDS = 60.0
"""How long a first word may take after the last was asked for."""
MAX_SOCKETS = 1000
MAX_CHATS = 100
"""Chats of the noisy tenant that its messages, sockets and files are for."""

Act = Callable[[int], Awaitable[None]]
"""Does one thing of a tenant: the number of it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Milliseconds from each start to its first word, and counts of what was sent and of what failed.

    A quiet tenant's start without a first word counts as GRACE_SECONDS: left out, a run in which most
    fail would look quick.
    """

    first_word_ms: list[float]
    sent: dict[str, int]
    failed: dict[str, int]


class Tenant:
    """What the tasks of one kind of tenant share."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.http = httpx.AsyncClient(
            timeout=GRACE_SECONDS, limits=httpx.Limits(max_connections=None)
        )
        self.sent: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.first_word_ms: list[float] = []
        self.chats: list[tuple[str, str]] = []
        """The chat and the user of each chat that has begun."""
        self.sockets: list[ClientConnection] = []

    async def start(self, app: str, text: str) -> tuple[str, str] | None:
        user = new_message_id()
        answer = await self.http.post(
            f"{self.address}/api/chats/{app}/{NAME}/start",
            json={"user_id": user, "client_request_id": user, "message": text},
        )
        if answer.is_error:
            self.failed[f"start {answer.status_code}"] += 1
            return None
        return str(answer.json()["chat_id"]), user

    def socket_address(self, app: str, chat: str, user: str) -> str:
        path = f"/ws/{NAME}/{app}/{chat}/{user}?after=0"
        return f"{self.address.replace('http', 'ws', 1)}{path}"

    # -- a quiet tenant

    async def first_word(self, number: int) -> None:
        app, began = f"quiet-{number % QUIET_APPS}", perf_counter()
        self.sent["start"] += 1
        found = await self.start(app, QUESTION)
        if found is None:
            return
        address = self.socket_address(app, *found)
        async with connect(address, compression=None, ping_interval=None) as socket:
            while FIRST_WORD.encode() not in await socket.recv(decode=False):
                pass
            self.first_word_ms.append(round(1000 * (perf_counter() - began), 1))

    # -- the noisy tenant

    async def slow_chat(self, _: int) -> None:
        self.sent["start"] += 1
        found = await self.start(NOISY_APP, SLOW_QUESTION)
        if found is not None and len(self.chats) < MAX_CHATS:
            self.chats.append(found)

    async def message(self, number: int) -> None:
        if self.chats:
            chat, user = self.chats[number % len(self.chats)]
            self.sent["message"] += 1
            answer = await self.http.post(
                f"{self.address}/chat/{NOISY_APP}/{chat}/{user}/input",
                json={"message": SLOW_QUESTION},
            )
            if answer.is_error:
                self.failed[f"message {answer.status_code}"] += 1

    async def socket(self, number: int) -> None:
        if self.chats and len(self.sockets) < MAX_SOCKETS:
            address = self.socket_address(NOISY_APP, *self.chats[number % len(self.chats)])
            self.sent["socket"] += 1
            socket = await connect(address, compression=None, ping_interval=None)
            self.sockets.append(socket)
            with suppress(WebSocketException):
                while True:
                    await socket.recv(decode=False)

    async def upload(self, number: int) -> None:
        if self.chats:
            chat, user = self.chats[number % len(self.chats)]
            self.sent["upload"] += 1
            answer = await self.http.post(
                f"{self.address}/api/chat/upload",
                data={"appId": NOISY_APP, "userId": user, "chatId": chat},
                files={"file": (f"{number}.txt", FILE + str(number).encode())},
            )
            if answer.is_error:
                self.failed[f"upload {answer.status_code}"] += 1


async def _at_rate(
    act: Act, rate: float, seconds: float, tenant: Tenant
) -> set[asyncio.Task[None]]:
    """Act RATE times a second without waiting; returns what still runs."""
    clock = asyncio.get_running_loop().time
    began, number = clock(), 0
    tasks: set[asyncio.Task[None]] = set()

    async def guarded(number: int) -> None:
        try:
            await act(number)
        except (httpx.HTTPError, WebSocketException, OSError, TimeoutError) as error:
            tenant.failed[type(error).__name__] += 1

    while clock() - began < seconds:
        task = asyncio.create_task(guarded(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(max(0.0, began + number / rate - clock()))
    return tasks


async def main(role: str, rate: float, seconds: float, address: str) -> None:
    tenant = Tenant(address)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    acts: list[Act] = [tenant.first_word]
    if role == "noisy":
        acts = [tenant.slow_chat, tenant.message, tenant.socket, tenant.upload]
    left = await asyncio.gather(*(_at_rate(act, rate, seconds, tenant) for act in acts))
    if role == "quiet":
        if running := set().union(*left):
            await asyncio.wait(running, timeout=GRACE_SECONDS)
        missing = tenant.sent["start"] - len(tenant.first_word_ms)
        tenant.first_word_ms += [1000 * GRACE_SECONDS] * missing
    result = Sent(tenant.first_word_ms, dict(tenant.sent), dict(tenant.failed))
    print(json.dumps(asdict(result)), flush=True)
    for task in set().union(*left):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
