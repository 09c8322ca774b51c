"""`mozaiks chats explain`: an explanation as lines and a tree."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from contracts.budget_report import LimitUse
from contracts.explanation import CauseNode, RunnerExplained
from mozaiks_client.explanation import Explanation
from services.orchestrator.cli.tables import cell, facts, time_text


def rendered(explanation: Explanation) -> Iterator[RenderableType]:
    """What it waits for first, then the facts, then what caused it."""
    yield Text(cell(explanation.account.sentence).plain, style="bold")
    yield facts(_rows(explanation))
    if explanation.account.causes:
        yield _tree(explanation.account.causes)


def _rows(explanation: Explanation) -> Iterator[tuple[str, object]]:
    account = explanation.account
    yield "chat", f"{account.chat_id} of {account.user_id or 'nobody'} in {account.app_id}"
    yield "workflow", account.workflow_name
    yield "waits for", account.waits_for
    yield "since", time_text(account.since)
    if explanation.problem:
        yield "problem", explanation.problem
    if account.agent is not None:
        yield "turn", f"{account.turn} of {account.agent}"
    if account.runner is not None:
        yield from _runner_rows(account.runner)
    for question in account.questions:
        whom = ", ".join([*question.users, *(f"role {role}" for role in question.roles)])
        expires = f", expires {time_text(question.expires_at)}" if question.expires_at else ""
        escalates = (
            f", escalates {time_text(question.escalates_at)}" if question.escalates_at else ""
        )
        asked = f"by {question.agent} to {whom or 'anyone'} at {time_text(question.asked_at)}"
        yield "question", f"{question.question_id} {asked}{expires}{escalates}"
    for call in account.calls:
        begun = "not dispatched yet"
        if call.attempt:
            begun = f"attempt {call.attempt} at {time_text(call.dispatched_at)}"
        yield "call", f"{call.tool_name} ({call.tool_call_id}), {begun}"
    if (error := account.last_error) is not None:
        yield "last error", f"{error.code} at {time_text(error.time)}, event {error.seq}"
        yield "", error.message
        if error.detail:
            yield "it said", error.detail
    if (wait := account.provider_wait) is not None:
        yield (
            "next attempt",
            (
                f"{wait.attempt} of {wait.attempts} at {time_text(wait.next_attempt_at)}, after {wait.code}"
            ),
        )
    yield "used", f"{explanation.total_tokens} tokens, {explanation.cost:.6g} US dollars"
    for limit in explanation.limits:
        yield "budget", _limit(limit)
    yield "event", account.last_seq
    yield "read model", _lag(explanation)


def _runner_rows(runner: RunnerExplained) -> Iterator[tuple[str, object]]:
    stored = {True: "is in the queue", False: "is not in the queue", None: "could not be looked up"}
    message = f"message {runner.message}, which {stored[runner.message_is_stored]}"
    yield "owner", f"command {runner.command}, {message}"
    if runner.process is None:
        yield "runner", "none has taken it yet"
        return
    holds = {
        True: "it lives and works on it",
        False: "no process works on it now",
        None: "the processes could not be asked",
    }
    attempt = "" if runner.attempt is None else f", delivery {runner.attempt}"
    yield "runner", f"{runner.process}{attempt}: {holds[runner.holds_message]}"
    if runner.processes:
        yield "processes", ", ".join(runner.processes)


def _limit(limit: LimitUse) -> str:
    whose = f"{limit.scope} {limit.name}" if limit.name else limit.scope
    used = "?" if limit.used is None else f"{limit.used:.6g}"
    limits = [
        f"{kind} {most:.6g}"
        for kind, most in (("soft", limit.soft), ("hard", limit.hard))
        if most is not None
    ]
    left = "" if limit.left is None else f", {limit.left:.6g} left"
    return f"{whose}, {limit.unit} per {limit.period}: {used} used, {', '.join(limits)}{left}"


def _lag(explanation: Explanation) -> str:
    found = explanation.read_model
    if found.last_seq is None:
        return "unknown: persistence does not know the chat, or does not answer"
    return f"at event {found.last_seq}, {found.behind} behind"


def _tree(causes: list[CauseNode]) -> Tree:
    tree = Tree("causes")
    for cause in causes:
        _grow(tree, cause)
    return tree


def _grow(parent: Tree, node: CauseNode) -> None:
    outcome = f": {node.outcome}" if node.outcome else ""
    kind = node.kind.replace("_", " ")
    name = node.name if node.name.startswith(kind) else f"{kind} {node.name}"
    line = f"{name}{outcome}  (event {node.seq}, {time_text(node.time)})"
    branch = parent.add(cell(line))
    for child in node.children:
        _grow(branch, child)
