"""Context variables of the runtime: clients may neither seed nor set them."""

RUNTIME_VARIABLES = (
    *("workflow_name", "app_id", "chat_id", "user_id", "attachments"),
    *("has_children", "schema_overview", "database_schema_available", "database_schema_db"),
    "collections_first_docs_full",
)
"""Variables that the runtime, or the original one, adds to every chat."""

_PREFIXES = ("_", "ag:", "a2a:")
"""AG2 keeps its own state under `ag:` and `a2a:`, such as standing approvals of tools."""


def is_reserved(name: str) -> bool:
    return name in RUNTIME_VARIABLES or name.startswith(_PREFIXES)
