"""A JetStream cluster of nats-servers on this machine, for tests, chaos runs and benchmarks."""

import json
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from infra.child_process import POLL_SECONDS, StartError, StopRequested, StopRequestedError, never
from infra.credentials.nkeys import public_key, signature
from infra.ports import LOOPBACK, free_ports
from infra.servers import READY_SECONDS, STOP_SECONDS, NatsServer, Routes

ANSWER_SECONDS = 2.0
"""How long one node may take to answer a request before the next one is asked."""
_PROBE = "CLUSTER_PROBE"
"""A stream that is made and deleted: the only proof that streams can be made on every node."""

Answer = Mapping[str, Any]
T = TypeVar("T")


class NoAnswerError(Exception):
    """No node of the cluster gave the answer in time; has the last one, or why there is none."""


class NatsCluster:
    """`size` nats-servers on the loopback, each with a folder of its own below `folder`.

    Every node keeps its name, ports and data from one start to the next, so that one can be
    killed, paused, stopped and restarted while the others continue.
    """

    def __init__(self, folder: Path, *, size: int = 3, sync_interval: str | None = None) -> None:
        ports = free_ports(2 * size)
        name, peers = f"cluster-{secrets.token_hex(4)}", tuple(ports[:size])
        self.nodes = tuple(
            NatsServer(
                folder / f"node{number}",
                port=port,
                sync_interval=sync_interval,
                routes=Routes(name, peer, peers),
            )
            for number, (peer, port) in enumerate(zip(peers, ports[size:], strict=True), start=1)
        )

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def start(self, stop_requested: StopRequested = never) -> None:
        """Start every node that does not run and return once streams can be made.

        Raises StartError, StopRequestedError. Whatever it raises, no node that it started is left.
        """
        started = [node for node in self.nodes if not node.child.running]
        try:
            for node in started:
                node.start(stop_requested)
            self.wait_until_ready(stop_requested=stop_requested)
        except BaseException:
            for node in started:
                node.kill()
            raise

    def stop(self) -> None:
        for node in self.nodes:
            node.child.ask_to_stop()
        for node in self.nodes:
            node.child.stop(STOP_SECONDS)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def wait_until_ready(
        self, seconds: float = READY_SECONDS, stop_requested: StopRequested = never
    ) -> None:
        """Return once a meta leader takes a stream with a replica on every node.

        Raises StartError when that takes longer than `seconds`.
        """
        probe = {
            "name": _PROBE,
            "subjects": [_PROBE],
            "retention": "limits",
            "storage": "memory",
            "num_replicas": len(self.nodes),
        }
        try:
            self._ask(f"$JS.API.STREAM.CREATE.{_PROBE}", probe, _done, seconds, stop_requested)
            self._ask(f"$JS.API.STREAM.DELETE.{_PROBE}", {}, _gone, seconds, stop_requested)
        except NoAnswerError as error:
            tails = "\n".join(node.child.tail(5) for node in self.nodes if node.child.running)
            raise StartError(
                "the cluster of nats-servers", f"takes no streams: {error}", tails
            ) from error

    def stream_leader(self, stream: str, seconds: float = READY_SECONDS) -> NatsServer:
        """The node that leads a stream, or a bucket's stream (`KV_chats`), once there is one.

        Raises NoAnswerError.
        """
        return self._ask(f"$JS.API.STREAM.INFO.{stream}", {}, self._leader, seconds)

    def stream_followers(self, stream: str, seconds: float = READY_SECONDS) -> list[NatsServer]:
        """The nodes that hold a replica of a stream and do not lead it. Raises NoAnswerError."""
        return self._ask(f"$JS.API.STREAM.INFO.{stream}", {}, self._followers, seconds)

    def wait_until_current(self, *streams: str, seconds: float = READY_SECONDS) -> None:
        """Return once every replica of these streams has all that their leaders have.

        Between two restarts of a rolling restart: else two nodes of three are behind at once.
        Raises NoAnswerError.
        """
        for stream in streams:
            self._ask(f"$JS.API.STREAM.INFO.{stream}", {}, self._all_current, seconds)

    def step_down(self, stream: str, seconds: float = READY_SECONDS) -> NatsServer:
        """Let a stream's leader step down; returns the new leader.

        Raises NoAnswerError.
        """
        before = self.stream_leader(stream, seconds)
        self._ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", {}, _done, seconds)

        def other(info: Answer) -> NatsServer | None:
            leader = self._leader(info)
            return None if leader is before else leader

        return self._ask(f"$JS.API.STREAM.INFO.{stream}", {}, other, seconds)

    def _leader(self, info: Answer) -> NatsServer | None:
        """None also where the answer is of a time before its leader was killed or paused."""
        name = info.get("cluster", {}).get("leader")
        leader = next((node for node in self.nodes if node.name == name), None)
        lives = leader is not None and leader.child.running and not leader.child.paused
        return leader if lives else None

    def _followers(self, info: Answer) -> list[NatsServer] | None:
        if self._leader(info) is None:
            return None
        names = {peer["name"] for peer in info["cluster"].get("replicas") or ()}
        return [node for node in self.nodes if node.name in names]

    def _all_current(self, info: Answer) -> Answer | None:
        peers = info.get("cluster", {}).get("replicas") or ()
        behind = any(peer.get("offline") or not peer["current"] for peer in peers)
        return None if behind or self._leader(info) is None else info

    def _ask(
        self,
        subject: str,
        body: Answer,
        accept: Callable[[Answer], T | None],
        seconds: float,
        stop_requested: StopRequested = never,
    ) -> T:
        """Ask one running node after the other until `accept` makes something of an answer."""
        deadline = time.monotonic() + seconds
        last = "no node runs"
        while time.monotonic() < deadline:
            for node in self.nodes:
                if stop_requested():
                    raise StopRequestedError
                if not node.child.running:
                    continue
                try:
                    answer = request(node.port, subject, body)
                except (OSError, NoAnswerError) as error:  # paused, killed, or without a leader
                    last = f"{node.name}: {error}"
                    continue
                if (accepted := accept(answer)) is not None:
                    return accepted
                last = f"{node.name}: {json.dumps(answer.get('error') or answer)[:300]}"
            time.sleep(POLL_SECONDS)
        raise NoAnswerError(f"{subject}: not within {seconds:g} s; the last answer was {last}")


def request(
    port: int, subject: str, body: Answer, seed: str = "", ca: Path | None = None
) -> Answer:
    """The JSON answer of the server on `port` to one request, over a connection of its own.

    `seed` is that of the user's nkey, and `ca` the authority of TLS, where the server requires them.
    Written out here so that `infra` needs no client library. Raises OSError (refused, or no answer
    within ANSWER_SECONDS) and NoAnswerError (nobody listens, or the server refuses).
    """
    inbox, payload = f"_INBOX.{secrets.token_hex(8)}", json.dumps(body).encode()
    with (
        socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as plain,
        _greeted(plain, ca) as (connection, greeting),
        connection.makefile("rb") as lines,
    ):
        options = json.dumps(_connect_options(greeting, seed))
        asking = f"CONNECT {options}\r\nSUB {inbox} 1\r\nPUB {subject} {inbox} {len(payload)}\r\n"
        connection.sendall(asking.encode() + payload + b"\r\n")
        while line := lines.readline():
            match line.split():
                case [b"MSG", *_, size]:
                    return dict(json.loads(lines.read(int(size))))
                case [b"HMSG", *_]:
                    raise NoAnswerError("nobody listens there")
                case [b"-ERR", *_]:
                    raise NoAnswerError(line.decode(errors="replace").strip())
                case [b"PING"]:
                    connection.sendall(b"PONG\r\n")
                case _:  # INFO again
                    continue
    raise NoAnswerError("the server closed the connection")


@contextmanager
def _greeted(plain: socket.socket, ca: Path | None) -> Iterator[tuple[socket.socket, Answer]]:
    """The connection after the server's greeting, which it sends before TLS begins."""
    with plain.makefile("rb") as lines:
        greeting = json.loads(lines.readline().removeprefix(b"INFO ") or b"{}")
    if ca is None:
        yield plain, greeting
        return
    context = ssl.create_default_context(cafile=ca)
    with context.wrap_socket(plain, server_hostname=LOOPBACK) as encrypted:
        yield encrypted, greeting


def _connect_options(greeting: Answer, seed: str) -> Answer:
    options = {"verbose": False, "headers": True, "no_responders": True}
    if not seed:
        return options
    nonce = str(greeting["nonce"])
    return {**options, "nkey": public_key(seed), "sig": signature(seed, nonce)}


def _done(answer: Answer) -> Answer | None:
    return None if "error" in answer else answer


def _gone(answer: Answer) -> Answer | None:
    not_found = answer.get("error", {}).get("code") == 404  # an earlier try deleted it
    return answer if not_found else _done(answer)
