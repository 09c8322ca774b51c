"""The Python functions of a workflow's folder, in modules of their own for each version of its code."""

import ast
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

from services.orchestrator.workflows.imports import Own, with_own_imports
from services.orchestrator.workflows.versions import Parcel

PREFIX = "mozaiks_tools_"


class ToolLoadError(Exception):
    """A tool that its manifest names but its folder does not offer."""


class ToolCode:
    """A folder's Python files as they were at one moment; its modules go when nobody holds it.

    Made by `tool_code`: the same files of the same folder are the same modules.
    """

    def __init__(self, package: str, root: Path, parcel: Parcel) -> None:
        self.parcel = parcel
        self._root = root
        self._paths = _paths(package, parcel.files)
        self._names = {path: name for name, path in self._paths.items() if path is not None}
        self._own = Own(package, parcel.folder, self._paths.keys(), _is_installed)

    def function(self, file: PurePath, name: str) -> Callable[..., Any]:
        """The function `name` of a Python file below the folder. Raises ToolLoadError."""
        if (module_name := self._names.get(file.as_posix())) is None:
            raise ToolLoadError(f"{file.name}: no such Python file")
        try:
            module = import_module(module_name)
        except (Exception, SystemExit) as broken:
            raise ToolLoadError(f"{file.name}: {type(broken).__name__}: {broken}") from broken
        function = getattr(module, name, None)
        if not callable(function):
            raise ToolLoadError(f"{file.name}: has no function {name}")
        return function  # type: ignore[no-any-return]

    def spec(self, module: str) -> ModuleSpec | None:
        if module not in self._paths:
            return None
        path = self._paths[module]
        is_package = path is None or PurePosixPath(path).name == "__init__.py"
        place = None if path is None else str(self._root / path)
        spec = spec_from_loader(module, _OURS, origin=place, is_package=is_package)
        if spec is not None:
            spec.has_location = path is not None
        return spec

    def source(self, module: str) -> bytes:
        path = self._paths[module]
        return b"" if path is None else self.parcel.files[path]

    def execute(self, module: ModuleType) -> None:
        place = getattr(module, "__file__", module.__name__)  # a mere folder has no file
        tree = ast.parse(self.source(module.__name__), place)
        tree = with_own_imports(tree, self._own, module.__package__ or "")
        exec(compile(tree, place, "exec", dont_inherit=True), module.__dict__)  # noqa: S102


def tool_code(root: Path, parcel: Parcel) -> ToolCode:
    """The code of these files, whose folder is, or was, `root`."""
    digest = sha256(f"{root}\0{parcel.digest}".encode()).hexdigest()
    package = f"{PREFIX}{digest[:32]}"
    with _MAKING:
        code = _ALIVE.get(package)
        if code is None:
            code = _ALIVE[package] = ToolCode(package, root, parcel)
            weakref.finalize(code, _forget, package).atexit = False
        return code


def _paths(package: str, files: Iterable[str]) -> Mapping[str, str | None]:
    """The path of each module and package; none for a folder that is merely there."""
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
    return spec is not None and spec.origin is not None  # a folder anywhere on the path has none


# -- as Python's import system asks for them --------------------------------------------------------

_ALIVE: weakref.WeakValueDictionary[str, ToolCode] = weakref.WeakValueDictionary()
_MAKING = Lock()


class _Ours(MetaPathFinder, Loader):
    """Holds no code, because modules hold their loader, and `sys.modules` holds them."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        code = _ALIVE.get(fullname.partition(".")[0])
        return None if code is None else code.spec(fullname)

    def exec_module(self, module: ModuleType) -> None:
        _ALIVE[module.__name__.partition(".")[0]].execute(module)

    def get_source(self, fullname: str) -> str | None:
        """For tracebacks, where the file is there no more."""
        code = _ALIVE.get(fullname.partition(".")[0])
        return None if code is None else decode_source(code.source(fullname))


_OURS = _Ours()
sys.meta_path.append(_OURS)


def _forget(package: str) -> None:
    for name in [one for one in list(sys.modules) if one.partition(".")[0] == package]:
        sys.modules.pop(name, None)
