"""Which context variables a client may set: those whose definition says so, and those of its page."""

from collections.abc import Collection, Mapping

PAGE_PREFIX = "ui_"
"""Begins the names of variables that hold a page's own context: clients set them freely."""

Settable = Mapping[str, Collection[str]]
"""By variable: the components that may set it; none of them: every client of the chat's user."""


def why_not_settable(name: str, settable: Settable, component: str | None) -> str | None:
    """Why a client may not set a variable, by this component or by none; None where it may."""
    if name.startswith(PAGE_PREFIX):
        return None
    components = settable.get(name)
    if components is None:
        return "the workflow lets no user set this variable (settable_by in its definition)"
    if components and component not in components:
        return f"only these components may set this variable: {', '.join(sorted(components))}"
    return None
