"""The model of the `handoffs` section."""

from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from services.orchestrator.workflows.manifest.models.base import Section, aliases, normalise_word

HANDOFF_TYPES = {"afterwork": "after_work", "condition": "condition"}
CONDITION_TYPES = {
    **dict.fromkeys(("expression", "contextexpression", "context"), "expression"),
    **dict.fromkeys(("llm", "stringllm", "stringllmcondition"), "llm"),
}
_SCOPES = dict.fromkeys(("pre", "beforereply", "immediate", "contextpre"), "pre")
_TRANSITIONS = {
    normalise_word(t): t for t in ("AgentTarget", "RevertToUserTarget", "TerminateTarget")
}


class HandoffManifest(Section):
    """One rule: an agent, or the user, hands over after its turn or when a condition holds."""

    source_agent: str
    target_agent: str
    handoff_type: Annotated[Literal["after_work", "condition"], aliases(HANDOFF_TYPES)] = (
        "after_work"
    )
    condition: str | None = None
    condition_type: Annotated[Literal["expression", "llm"] | None, aliases(CONDITION_TYPES)] = None
    condition_scope: Annotated[Literal["pre"] | None, aliases(_SCOPES)] = Field(
        default=None, validation_alias=AliasChoices("condition_scope", "scope")
    )
    transition_target: Annotated[
        Literal["AgentTarget", "RevertToUserTarget", "TerminateTarget"] | None,
        aliases(_TRANSITIONS),
    ] = None
    description: str | None = None

    @property
    def kind(self) -> Literal["after_work", "expression", "llm"]:
        if self.handoff_type == "after_work":
            return "after_work"
        return self.condition_type or ("expression" if "${" in (self.condition or "") else "llm")


class HandoffsManifest(Section):
    """`handoffs`: who follows whom."""

    handoff_rules: list[HandoffManifest] = []
