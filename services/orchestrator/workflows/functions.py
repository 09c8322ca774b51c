"""A Python function of a workflow's folder, loaded from its file."""

import importlib.util
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any


class ToolLoadError(Exception):
    """A tool that its manifest names but its folder does not offer."""


def load_function(file: Path, name: str) -> Callable[..., Any]:
    """The function `name` of a Python file. Raises ToolLoadError with the reason."""
    module_name = f"mozaiks_tools_{sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ToolLoadError(f"{file.name}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as broken:
        raise ToolLoadError(f"{file.name}: {type(broken).__name__}: {broken}") from broken
    function = getattr(module, name, None)
    if not callable(function):
        raise ToolLoadError(f"{file.name}: has no function {name}")
    return function  # type: ignore[no-any-return]
