"""`logs.logging_config` of the predecessor: its `get_..._logger` functions, with Python's loggers."""

import logging
from collections.abc import MutableMapping
from typing import Any

from services.orchestrator.compatibility.unavailable import placeholder

__all__ = ["ContextLogger", "get_logger", "get_workflow_logger"]

_OPTIONS = ("exc_info", "stack_info", "stacklevel")


class ContextLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods take any fields as keywords: `log.info("paid", amount=3)`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        options = {name: kwargs[name] for name in _OPTIONS if name in kwargs}
        fields = {name: value for name, value in kwargs.items() if name not in (*_OPTIONS, "extra")}
        named = {**(self.extra or {}), **(kwargs.get("extra") or {}), **fields}
        extra = {name: value for name, value in named.items() if not hasattr(_RECORD, name)}
        return msg, {**options, "extra": extra}


_RECORD = logging.makeLogRecord({"message": "", "asctime": ""})
"""A record's own attributes must not be overwritten."""


def get_logger(name: Any = None, *_: Any, **fields: Any) -> ContextLogger:
    """The logger `workflows.<name>`; the fields are in each of its records."""
    words = [str(one) for one in (name or fields.get("workflow_name"),) if one]
    return ContextLogger(logging.getLogger(".".join(("workflows", *words))), fields)


get_workflow_logger = get_logger


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return get_logger if name.endswith("logger") else placeholder(name)
