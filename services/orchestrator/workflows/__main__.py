"""`python -m services.orchestrator.workflows validate|new|schemas`: for those who write workflows."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from services.orchestrator.workflows import schemas
from services.orchestrator.workflows.diagnosis import Problem, errors, warnings
from services.orchestrator.workflows.functions import ToolLoadError
from services.orchestrator.workflows.loading import (
    Broken,
    Loaded,
    broken,
    is_meant,
    load,
    load_all,
)
from services.orchestrator.workflows.scaffold import ScaffoldError, make


def main(arguments: list[str]) -> int:
    told = _parser().parse_args(arguments)
    match told.order:
        case "validate":
            return validate(told.path)
        case "new":
            return new(told.name, told.path)
        case _:
            return export(check=told.check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.orchestrator.workflows")
    orders = parser.add_subparsers(dest="order", required=True)
    root = Path(os.environ.get("WORKFLOWS_PATH", "workflows"))
    one = orders.add_parser("validate", help="check one workflow, or every one in a folder")
    one.add_argument("path", nargs="?", type=Path, default=root)
    one = orders.add_parser("new", help="make a workflow that runs at once")
    one.add_argument("name")
    one.add_argument("--path", type=Path, default=root, help="the folder with the workflows")
    one = orders.add_parser("schemas", help="write the sections' JSON Schemas")
    one.add_argument("--check", action="store_true", help="only compare")
    return parser


def validate(path: Path) -> int:
    """1 if anything is wrong, 0 otherwise; importing the tools' files runs them."""
    if not path.is_dir():
        print(f"{path}: there is no such folder")
        return 1
    found = [load(path, os.environ)] if is_meant(path) else load_all(path, os.environ)
    if not found:
        print(f"{path}: holds no workflow (a folder with a workflow.json or orchestrator.yaml)")
        return 1
    judged = [_with_functions(one) for one in found]
    for one in judged:
        print("\n".join(_told(one)))
    all_ = [problem for one in judged for problem in one.diagnosis]
    wrong = len(errors(all_))
    print(f"{len(judged)} workflows, {wrong} errors, {len(all_) - wrong} warnings")
    return 1 if any(isinstance(one, Broken) for one in judged) else 0


def _with_functions(found: Loaded | Broken) -> Loaded | Broken:
    """The same, with the functions that its tools' files do not offer."""
    if isinstance(found, Broken):
        return found
    problems: list[Problem] = []
    for agent in found.workflow.agents.values():
        for tool in agent.tools:
            try:
                found.code.function(tool.file, tool.function)
            except ToolLoadError as missing:
                problems.append(Problem("tools", tool.name, str(missing)))
    return broken(found.folder, [*problems, *found.diagnosis]) if problems else found


def _told(found: Loaded | Broken) -> Iterable[str]:
    wrong, doubtful = errors(found.diagnosis), warnings(found.diagnosis)
    counted = f"{len(wrong)} errors, {len(doubtful)} warnings" if found.diagnosis else "well"
    yield f"{found.folder}: {counted}"
    for problem in (*wrong, *doubtful):
        place = f"{problem.file}: {problem.where}" if problem.where else problem.file
        yield f"  {problem.severity:7} {place}"
        yield f"          {problem.what}"
        if problem.found:
            yield f"          found: {problem.found}"
        if problem.accepted:
            yield f"          accepted: {', '.join(problem.accepted)}"
        if problem.hint:
            yield f"          did you mean: {problem.hint}?"


def new(name: str, root: Path) -> int:
    try:
        folder = make(name, root)
    except (ScaffoldError, OSError) as trouble:
        print(trouble)
        return 1
    print(f"{folder} is there: choose {name} (in production, start the product again first)")
    return 0


def export(*, check: bool) -> int:
    if not check:
        schemas.write()
        return 0
    stale = schemas.differences()
    for name in stale:
        print(f"services/orchestrator/workflows/schemas/{name} differs: run `make schemas`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
