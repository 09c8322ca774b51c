"""Which context variables belong to the runtime: clients may neither seed nor set them."""

RUNTIME_VARIABLES = (
    *("workflow_name", "app_id", "chat_id", "user_id", "attachments"),
    *("has_children", "schema_overview", "database_schema_available", "database_schema_db"),
    "collections_first_docs_full",
)
"""What the original runtime put among the variables of every chat, and what ours does."""

_PREFIXES = ("_", "ag:", "a2a:")
"""AG2 keeps its own things under `ag:` and `a2a:`, standing approvals of tools among them."""


def is_reserved(name: str) -> bool:
    return name in RUNTIME_VARIABLES or name.startswith(_PREFIXES)
