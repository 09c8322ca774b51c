"""Check workflows by the code that loads them in the orchestrator, and report all problems."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion, build_version
from services.orchestrator.workflows.loading import (
    BrokenWorkflow,
    LoadedWorkflow,
    is_workflow_folder,
    load,
    load_all,
)
from services.orchestrator.workflows.manifest.diagnostics import Problem, errors, warnings


def check(
    path: Path, models: ModelFactory, environment: Mapping[str, str]
) -> list[LoadedWorkflow | BrokenWorkflow]:
    """One workflow, or all in a folder, each as the orchestrator will have it.

    Imports the files of tools and hooks, which executes them.
    """
    loaded = [load(path, environment)] if is_workflow_folder(path) else load_all(path, environment)
    return [_built(one, models, environment) for one in loaded]


def _built(
    found: LoadedWorkflow | BrokenWorkflow, models: ModelFactory, environment: Mapping[str, str]
) -> LoadedWorkflow | BrokenWorkflow:
    """The workflow, broken where its agents cannot be built: every function is loaded for that."""
    if isinstance(found, BrokenWorkflow):
        return found
    built = build_version(found, models, environment)
    if isinstance(built, WorkflowVersion):
        return built.loaded
    problems = [_problem(line) for line in built.problems]
    return replace(built, diagnostics=(*problems, *found.diagnostics))


def _problem(line: str) -> Problem:
    file, _, message = line.partition(": ")
    return Problem(file, "", message)


def report(checked: Iterable[LoadedWorkflow | BrokenWorkflow]) -> Iterable[str]:
    """The lines of a report: each workflow with its problems, and the totals."""
    found = list(checked)
    for one in found:
        yield from _lines(one)
    problems = [problem for one in found for problem in one.diagnostics]
    error_count = len(errors(problems))
    warning_count = len(problems) - error_count
    totals = (
        _counted(len(found), "workflow"),
        _counted(error_count, "error"),
        _counted(warning_count, "warning"),
    )
    yield ", ".join(totals)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _lines(found: LoadedWorkflow | BrokenWorkflow) -> Iterable[str]:
    problems = (*errors(found.diagnostics), *warnings(found.diagnostics))
    error_count, warning_count = len(errors(problems)), len(warnings(problems))
    counts = f"{_counted(error_count, 'error')}, {_counted(warning_count, 'warning')}"
    yield f"{found.folder}: {counts if problems else 'ok'}"
    for problem in problems:
        location = f"{problem.file}: {problem.path}" if problem.path else problem.file
        yield f"  {problem.severity:7} {location}"
        yield f"          {problem.message}"
        if problem.found:
            yield f"          found: {problem.found}"
        if problem.accepted:
            yield f"          accepted: {', '.join(problem.accepted)}"
        if problem.hint:
            yield f"          did you mean: {problem.hint}?"
