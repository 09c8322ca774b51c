"""A real receiver of OTLP (rotel) as a child process, and the spans that it has printed."""

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.child_process import Child
from infra.ports import LOOPBACK, answers, free_port

_FIELD = re.compile(r" *(Trace ID|Parent ID|ID|Name) *: (.*)")
_SERVICE = re.compile(r" *-> service\.name: Str\((.*)\)")
_LINK = re.compile(r" *-> Trace ID: (.*)")


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as the receiver prints it; `links` are the ids of the traces that it is linked to."""

    service: str
    trace: str
    parent: str
    id: str
    name: str
    links: tuple[str, ...]


class TraceReceiver:
    """rotel, which takes spans over HTTP and prints them into its log."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        command = [
            str(importlib.metadata.distribution("rotel").locate_file("rotel/rotel-agent")),
            "start",
            *("--otlp-http-endpoint", f"{LOOPBACK}:{self._port}"),
            *("--otlp-grpc-endpoint", f"{LOOPBACK}:{free_port()}"),
            *("--exporter", "blackhole", "--disable-batching"),
            *("--debug-log", "traces", "--debug-log-verbosity", "detailed"),
        ]
        self._child = Child("rotel", command, folder / "rotel.log")

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def start(self) -> None:
        self._child.start()
        self._child.wait_until(lambda: answers(self._port), 30)

    def stop(self) -> None:
        self._child.stop(10)

    def wait_until(self, is_whole: Callable[[list[ReceivedSpan]], bool]) -> list[ReceivedSpan]:
        """All spans, once enough of them are there. Raises StartError where that takes too long."""
        self._child.wait_until(lambda: is_whole(self.spans()), 60)
        return self.spans()

    def spans(self) -> list[ReceivedSpan]:
        """All that was received so far, in the order of arrival."""
        service, found = "", list[ReceivedSpan]()
        for part in re.split(
            r"(?=^(?:Span|ResourceSpans) #\d+$)", self._child.written(), flags=re.MULTILINE
        ):
            if part.startswith("ResourceSpans"):
                named = _SERVICE.search(part)
                service = named[1] if named else ""
            elif part.startswith("Span #"):
                lines = map(_FIELD.fullmatch, part.splitlines())
                fields = {str(line[1]): str(line[2]) for line in lines if line}
                if len(fields) == 4:  # else it is not printed as a whole yet
                    links = tuple(_LINK.findall(part))
                    ids = fields["Trace ID"], fields["Parent ID"], fields["ID"], fields["Name"]
                    found.append(ReceivedSpan(service, *ids, links))
        return found


@contextmanager
def receiving(folder: Path) -> Iterator[TraceReceiver]:
    receiver = TraceReceiver(folder)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
