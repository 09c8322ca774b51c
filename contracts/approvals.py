"""Approvals of tool calls: the words that approve or deny them."""

from dataclasses import dataclass

APPROVE, DENY, ALWAYS = "Approve", "Deny", "Always for this chat"
"""The answers that are offered as buttons."""
YES = frozenset({"approve", "approved", "yes", "y", "allow", "ok", "okay"})
NO = frozenset({"", "deny", "denied", "no", "n", "reject", "rejected", "refuse", "refused"})
"""The empty text is what a client sends that cancels the question."""
YES_ALWAYS = frozenset({ALWAYS.casefold(), "always"})

_PUNCTUATION = " \t\r\n.!"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about a tool call; with `always`, it approves later calls of the tool, too."""

    approved: bool
    always: bool = False


def verdict_of(text: str, *, allow_always: bool = False) -> Verdict | None:
    """What a text decides, ignoring case, spaces and a final full stop; None: neither yes nor no."""
    word = text.strip(_PUNCTUATION).casefold()
    if word in YES:
        return Verdict(approved=True)
    if word in NO:
        return Verdict(approved=False)
    if word in YES_ALWAYS and allow_always:
        return Verdict(approved=True, always=True)
    return None


def label_of(verdict: Verdict) -> str:
    """The offered answer that has the same meaning."""
    if not verdict.approved:
        return DENY
    return ALWAYS if verdict.always else APPROVE
