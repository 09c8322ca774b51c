"""Load the Python functions of a workflow's folder, in separate modules for each version of the code."""

import ast
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, find_spec, spec_from_loader
from pathlib import Path, PurePath, PurePosixPath
from threading import Lock
from types import ModuleType
from typing import Any

from services.orchestrator.workflows.code.bundle import FileBundle
from services.orchestrator.workflows.code.import_rewriter import OwnModules, rewrite_imports
from services.orchestrator.workflows.code.shared import has_shared

PREFIX = "mozaiks_tools_"


class ToolLoadError(Exception):
    """A function that the manifest names cannot be loaded from the folder."""


class ToolCode:
    """One version of a folder's Python files; its modules are removed when it is garbage-collected.

    Made by `tool_code`, so that equal files of the same folder share their modules.
    """

    def __init__(self, package: str, root: Path, bundle: FileBundle) -> None:
        self.bundle = bundle
        self._package = package
        self._root = root
        self._paths = _paths(package, bundle.files)
        self._names = {path: name for name, path in self._paths.items() if path is not None}
        self._own = OwnModules(package, bundle.folder, self._paths.keys(), _is_installed)

    def function(self, file: PurePath, name: str) -> Callable[..., Any]:
        """The function `name` of a Python file below the folder. Raises ToolLoadError."""
        if (module_name := self._names.get(file.as_posix())) is None:
            raise ToolLoadError(f"{file.name}: there is no such Python file")
        try:
            module = import_module(module_name)
        except KeyboardInterrupt:
            raise
        except BaseException as broken:  # also SystemExit, and what a skipped test module raises
            why = str(broken).replace(f"{self._package}.", "")  # the author knows no such package
            raise ToolLoadError(f"{file.name}: {type(broken).__name__}: {why}") from broken
        function = getattr(module, name, None)
        if not callable(function):
            raise ToolLoadError(f"{file.name}: has no function {name}")
        return function  # type: ignore[no-any-return]

    def spec(self, module: str) -> ModuleSpec | None:
        if module not in self._paths:
            return None
        path = self._paths[module]
        is_package = path is None or PurePosixPath(path).name == "__init__.py"
        origin = None if path is None else str(self._place(path))
        spec = spec_from_loader(module, _IMPORTER, origin=origin, is_package=is_package)
        if spec is not None:
            spec.has_location = path is not None
        return spec

    def _place(self, path: str) -> Path:
        """Where a file is on disk: the shared folder is beside the workflow's."""
        return (self._root.parent if has_shared([path]) else self._root) / path

    def source(self, module: str) -> bytes:
        path = self._paths[module]
        return b"" if path is None else self.bundle.files[path]

    def execute(self, module: ModuleType) -> None:
        filename = getattr(module, "__file__", module.__name__)  # a namespace package has no file
        tree = ast.parse(self.source(module.__name__), filename)
        tree = rewrite_imports(tree, self._own, module.__package__ or "")
        exec(compile(tree, filename, "exec", dont_inherit=True), module.__dict__)  # noqa: S102


def tool_code(root: Path, bundle: FileBundle) -> ToolCode:
    """The code of these files; `root` is the folder that they were read from."""
    digest = sha256(os.fsencode(root) + b"\0" + bundle.digest.encode()).hexdigest()
    package = f"{PREFIX}{digest[:32]}"
    with _LOADED_LOCK:
        code = _LOADED.get(package)
        if code is None:
            code = _LOADED[package] = ToolCode(package, root, bundle)
            weakref.finalize(code, _remove_modules, package).atexit = False
        return code


def _paths(package: str, files: Iterable[str]) -> Mapping[str, str | None]:
    """The path of each module and package; None for a folder without `__init__.py`."""
    paths: dict[str, str | None] = {package: None}
    for path in files:
        parts = PurePosixPath(path).with_suffix("").parts
        names = [part.replace(".", "/") for part in parts]  # "/" is in no file's name
        for depth in range(1, len(names)):
            paths.setdefault(".".join((package, *names[:depth])), None)
        if names[-1] == "__init__":
            names.pop()
        paths[".".join((package, *names))] = path
    return paths


def _is_installed(name: str) -> bool:
    try:
        spec = find_spec(name)
    except ValueError:  # __main__ has no spec
        return True
    return spec is not None and spec.origin is not None  # a namespace package has no origin


# -- the importer that Python's import system uses -------------------------------------------------

_LOADED: weakref.WeakValueDictionary[str, ToolCode] = weakref.WeakValueDictionary()
_LOADED_LOCK = Lock()


class _ToolImporter(MetaPathFinder, Loader):
    """Has no reference to code: modules refer to their loader, and `sys.modules` to them."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        code = _LOADED.get(fullname.partition(".")[0])
        return None if code is None else code.spec(fullname)

    def exec_module(self, module: ModuleType) -> None:
        _LOADED[module.__name__.partition(".")[0]].execute(module)

    def get_source(self, fullname: str) -> str | None:
        """For tracebacks, if the file does not exist any more."""
        code = _LOADED.get(fullname.partition(".")[0])
        return None if code is None else decode_source(code.source(fullname))


_IMPORTER = _ToolImporter()
sys.meta_path.append(_IMPORTER)


def _remove_modules(package: str) -> None:
    for name in [one for one in list(sys.modules) if one.partition(".")[0] == package]:
        sys.modules.pop(name, None)
