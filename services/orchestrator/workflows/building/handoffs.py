"""Build the handoff rules of a workflow, by the agent or user that they belong to."""

from dataclasses import dataclass

from contracts.ids import AgentName
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.manifest.models.handoffs import HandoffManifest
from services.orchestrator.workflows.manifest.names import resolve_target
from services.orchestrator.workflows.spec import TERMINATE, USER, Handoff, Rule


@dataclass(frozen=True, slots=True)
class HandoffRules:
    """The rules of a checked manifest: `names` holds every agent that a rule names."""

    rules: tuple[HandoffManifest, ...]
    names: tuple[str, ...]

    def handoffs(self, source: str) -> tuple[Handoff, ...]:
        """The handoffs that the model of `source` may choose by tool call: one for each target."""
        conditions: dict[AgentName, list[str]] = {}
        for rule in self._of(source):
            if rule.kind == "llm":
                conditions.setdefault(self._target(rule), []).append(rule.condition or "")
        return tuple(Handoff(target, "\nor: ".join(all_)) for target, all_ in conditions.items())

    def expressions(self, source: str, scope: str | None) -> tuple[Rule, ...]:
        """The rules with an expression: `pre` before a reply of `source`, None after it.

        A rule of the user has no scope.
        """
        return tuple(
            Rule(self._target(rule), parse(rule.condition or ""))
            for rule in self._of(source)
            if rule.kind == "expression" and (source == USER or rule.condition_scope == scope)
        )

    def after_work(self, source: str) -> AgentName | None:
        """The target of the last unconditional rule."""
        own = [rule for rule in self._of(source) if rule.kind == "after_work"]
        return self._target(own[-1]) if own else None

    def _of(self, source: str) -> list[HandoffManifest]:
        return [r for r in self.rules if resolve_target(r.source_agent, self.names) == source]

    def _target(self, rule: HandoffManifest) -> AgentName:
        return resolve_target(rule.target_agent, self.names) or TERMINATE
