"""Run the whole product on this machine: python -m infra"""

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType

from infra.child_process import StartError, StopRequestedError
from infra.console import ConsoleBuildError, ensure_built
from infra.plan import SERVICES, Plan, PlanError, build_plan, summary
from infra.ports import NoFreePortError, free_ports
from infra.servers import MissingServerError
from infra.stack import InUseError, Stack, owning, require_free_ports


class Signals:
    """Remembers SIGINT (Ctrl-C), SIGTERM and SIGHUP (closed terminal)."""

    def __init__(self) -> None:
        self.is_stopping = False
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if number := getattr(signal, name, None):  # Windows has no SIGHUP
                signal.signal(number, self._remember)

    def stop_requested(self) -> bool:
        return self.is_stopping

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self.is_stopping = True


def say(line: str) -> None:
    print(line, flush=True)


def with_free_ports(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with a free port wherever PORT and NATS_PORT are 0. Raises NoFreePortError."""
    chosen = dict(environ)
    ports = [str(port) for port in free_ports(len(SERVICES) + 1)]
    if chosen.get("PORT") == "0":
        del chosen["PORT"]
        for name, port in zip(SERVICES, ports[1:], strict=True):
            chosen.setdefault(f"{name.upper()}_PORT", port)
    if chosen.get("NATS_PORT") == "0":
        chosen["NATS_PORT"] = ports[0]
    return chosen


def run(plan: Plan, environ: Mapping[str, str], signals: Signals) -> None:
    with owning(plan.data):
        require_free_ports(plan)
        say("starting ...")
        stack = Stack(plan, environ, say)
        try:
            stack.start(signals.stop_requested)
            say(summary(plan, nats_url=stack.nats_url, mongodb_uri=stack.mongodb_uri))
            stack.watch(signals.stop_requested)
        except StopRequestedError:
            pass
        finally:
            say("stopping ...")
            stack.stop()
        say(f"stopped; everything is kept in {plan.data}")


def main() -> int:
    os.umask(0o077)  # logs and data hold what users wrote: for this user only
    try:
        environ = with_free_ports(os.environ)
        plan = build_plan(environ)
        ensure_built()
        run(plan, environ, Signals())
    except (
        *(PlanError, InUseError, MissingServerError, NoFreePortError, StartError),
        ConsoleBuildError,
    ) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
