"""Warn of conversations that cannot go as their author expects: nobody speaks, asks or ends."""

from collections.abc import Iterable, Mapping

from contracts.ids import AgentName
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.spec import TERMINATE, USER, Agent, Workflow, transfer_name


def check_dead_ends(
    report: Report, workflow: Workflow, demo: DemoScripts, *, code_asks: bool
) -> None:
    """`code_asks`: some tool asks the user by its code."""
    _check_reachable(report, workflow)
    if workflow.human_in_the_loop and not code_asks:
        _check_user(report, workflow)
    _check_endless(report, workflow)
    for name, agent in workflow.agents.items():
        _check_demo(report, agent, demo.script(name).tool_names if name in demo.agents else ())


def _check_reachable(report: Report, workflow: Workflow) -> None:
    reachable = _reachable(workflow, _first_speakers(workflow))
    for number, name in enumerate(workflow.agents):
        if name not in reachable:
            message = f"{name} never speaks: no rule hands over to it, and no pattern selects it"
            report.add("agents", ("agents", number), message, severity="warning")


def _check_user(report: Report, workflow: Workflow) -> None:
    """A workflow in which no agent hands over to the user ends after its first turns.

    Patterns that go on until `max_turns` leave the user time to write.
    """
    if workflow.pattern != "DefaultPattern":
        return
    tools = [tool for agent in workflow.agents.values() for tool in agent.tools]
    servers = [one for agent in workflow.agents.values() for one in agent.mcp_servers]
    if any(tool.ui or tool.approval for tool in tools):
        return
    if any(server.approval for server in servers):
        return
    if any(USER in _followers(workflow, name) for name in workflow.agents):
        return
    message = (
        "has no effect: no agent hands over to user, so the chat ends without asking anybody; add a "
        "rule of handoffs with target_agent user"
    )
    report.add("workflow", ("human_in_the_loop",), message, severity="warning")


def _check_endless(report: Report, workflow: Workflow) -> None:
    """Agents from which neither the user nor the end can be reached talk until `max_turns`."""
    if workflow.pattern != "DefaultPattern":
        return  # other patterns are meant to go on until max_turns
    reachable = _reachable(workflow, _first_speakers(workflow))
    for name, agent in workflow.agents.items():
        if name not in reachable or agent.after_work is None:
            continue
        after = _reachable(workflow, _followers(workflow, name))
        if name in after and not after & {USER, TERMINATE}:
            turns = f"{workflow.max_turns} turns, with a model call or more each"
            message = f"{name} and those after it hand over in a circle until max_turns: {turns}"
            report.add("handoffs", (), message, severity="warning")
            return


def _check_demo(report: Report, agent: Agent, called: Iterable[str]) -> None:
    if agent.mcp_servers:
        return  # their tools are known only to the server
    known = [tool.name for tool in agent.tools]
    known += [transfer_name(one.target) for one in agent.handoffs]
    for name in dict.fromkeys(called):
        if name not in known:
            path = ("agents", str(agent.name))
            report.unknown("demo", path, "tool", name, known, severity="warning")


def _first_speakers(workflow: Workflow) -> frozenset[AgentName]:
    first = {workflow.initial_agent}
    return frozenset(first | {USER} if workflow.startup_mode == "UserDriven" else first)


def _reachable(workflow: Workflow, first: Iterable[AgentName]) -> frozenset[AgentName]:
    """Who may speak from these speakers on, themselves included."""
    seen: set[AgentName] = set()
    waiting = list(first)
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += _followers(workflow, name)
    return frozenset(seen)


def _followers(workflow: Workflow, name: AgentName) -> frozenset[AgentName]:
    """Who may follow a speaker; TERMINATE for the end of the chat."""
    if name == TERMINATE:
        return frozenset()
    if name == USER:
        targets = {rule.target for rule in workflow.after_user_if}
        if workflow.after_user is not None:
            return frozenset(targets | {workflow.after_user})
        return frozenset(targets | {workflow.initial_agent} | _by_pattern(workflow))
    agent = workflow.agents.get(name)
    if agent is None:
        return frozenset()
    targets = {one.target for one in agent.handoffs}
    targets |= {rule.target for rule in (*agent.after_work_if, *agent.before_reply)}
    if agent.max_consecutive_auto_reply is not None:
        targets.add(USER if workflow.human_in_the_loop else TERMINATE)
    if agent.after_work is not None:
        return frozenset(targets | {agent.after_work})
    return frozenset(targets | _by_pattern(workflow))


def _by_pattern(workflow: Workflow) -> set[AgentName]:
    everyone: Mapping[str, set[AgentName]] = {"DefaultPattern": {TERMINATE}}
    selected = set(workflow.agents)
    if workflow.pattern == "AutoPattern" and workflow.human_in_the_loop:
        selected.add(USER)
    return everyone.get(workflow.pattern, selected)
