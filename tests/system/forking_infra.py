"""`python -m infra` whose services are forked from it, where all is imported, instead of started."""

import multiprocessing
import os
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra import mongo_provision, stack
from tests.forked import ForkedChild
from tests.system.stage import ROOT

CONTEXT = multiprocessing.get_context("fork")


class ForkedService(ForkedChild):
    """What infra starts as `python -m module`, forked from infra."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str],
        folder: Path = ROOT,
    ) -> None:
        assert folder == ROOT
        _, _, module, *arguments = command
        super().__init__(name, module, log, environment, arguments, CONTEXT)


if __name__ == "__main__":
    os.chdir(ROOT)
    # It ends with the tests, and may have processes all the same: they end with it.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    for module in (stack, mongo_provision):
        setattr(module, "Child", ForkedService)  # noqa: B010
    runpy.run_module("infra", run_name="__main__", alter_sys=True)
