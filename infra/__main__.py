"""Run the whole product on this machine: python -m infra"""

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType

from infra.children import StartError, StopAskedError
from infra.plan import Plan, PlanError, build_plan, summary
from infra.servers import MissingServerError
from infra.stack import Stack, TakenError, owning, refuse_taken_ports


class Signals:
    """Remembers that somebody pressed Ctrl-C, sent SIGTERM or closed the terminal."""

    def __init__(self) -> None:
        self.stop_asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._remember)

    def asked(self) -> bool:
        return self.stop_asked

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_asked = True


def say(line: str) -> None:
    print(line, flush=True)


def run(plan: Plan, environ: Mapping[str, str], signals: Signals) -> None:
    with owning(plan.data):
        refuse_taken_ports(plan)
        say("starting ...")
        stack = Stack(plan, environ, say)
        try:
            stack.start(signals.asked)
            say(summary(plan, nats_url=stack.nats_url, mongodb_uri=stack.mongodb_uri))
            stack.watch(signals.asked)
        except StopAskedError:
            pass
        finally:
            say("stopping ...")
            stack.stop()
        say(f"stopped; everything is kept in {plan.data}")


def main() -> int:
    try:
        run(build_plan(os.environ), os.environ, Signals())
    except (PlanError, TakenError, MissingServerError, StartError) as trouble:
        print(f"make run: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
