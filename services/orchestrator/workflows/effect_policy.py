"""What a tool's manifest says of repeated calls and of calls in doubt, with every default."""

from dataclasses import dataclass
from typing import Literal

from contracts.events.turn import ToolEffect

InDoubt = Literal["ask", "tell", "fail"]
DoubtAction = Literal["repeat", "ask", "tell", "fail"]


@dataclass(frozen=True, slots=True)
class EffectPolicy:
    """What a repeated call of a tool does, and what happens where the outcome of a call is unknown.

    In doubt, a call is `repeat`ed, the user is asked (`ask`), the model gets the status `unknown`
    (`tell`), or the turn fails (`fail`).
    """

    effect: ToolEffect = "idempotent"
    in_doubt: DoubtAction = "repeat"


@dataclass(frozen=True, slots=True)
class DeclaredEffect:
    """What the manifest says of a tool, None where it says nothing.

    `is_guarded` says that the manifest treats a call as one that must not simply be repeated: it has
    a `check`, an `in_doubt` or `requires_approval`.
    """

    effect: ToolEffect | None = None
    in_doubt: InDoubt | None = None
    has_check: bool = False
    requires_approval: bool = False
    retries: int = 0

    @property
    def is_guarded(self) -> bool:
        return self.has_check or self.in_doubt is not None or self.requires_approval


DEFAULT_POLICY = EffectPolicy()
NOTHING_DECLARED = DeclaredEffect()


@dataclass(frozen=True, slots=True)
class McpHints:
    """What an MCP server says of one of its tools (`ToolAnnotations`)."""

    read_only: bool = False
    idempotent: bool = False


def function_policy(declared: DeclaredEffect, *, may_ask: bool = True) -> EffectPolicy:
    """The policy of a Python function; `may_ask` is false before and after a chat."""
    effect: ToolEffect = "idempotent"
    if declared.effect is not None:
        effect = declared.effect
    elif declared.is_guarded and not declared.retries:
        effect = "once"
    return EffectPolicy(effect, _in_doubt(declared, effect, may_ask=may_ask))


def mcp_policy(declared: DeclaredEffect, hints: McpHints) -> EffectPolicy:
    """The policy of an MCP server's tool: hints count only where the manifest says nothing."""
    effect: ToolEffect = "once"
    if declared.effect is not None:
        effect = declared.effect
    elif hints.read_only:
        effect = "read"
    elif hints.idempotent or declared.retries:
        effect = "idempotent"
    return EffectPolicy(effect, _in_doubt(declared, effect, may_ask=True))


def _in_doubt(declared: DeclaredEffect, effect: ToolEffect, *, may_ask: bool) -> DoubtAction:
    if declared.in_doubt is not None:
        return declared.in_doubt
    if effect == "once" or declared.requires_approval:
        return "ask" if may_ask else "tell"
    return "repeat"
