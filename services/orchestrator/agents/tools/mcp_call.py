"""One attempt of a call of an MCP server's tool: its key, and whether the server got and answered it."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class McpCall:
    """One attempt of a call: its key, and how far it came."""

    idempotency_key: str
    is_sent: bool = False
    is_answered: bool = False

    def restart(self) -> None:
        """Another attempt of the call begins."""
        self.is_sent = self.is_answered = False

    @property
    def is_in_doubt(self) -> bool:
        """Whether the request was sent, and the server's answer to it did not come."""
        return self.is_sent and not self.is_answered


CALL: ContextVar[McpCall] = ContextVar("mcp_call")
"""The attempt that runs in this context."""
