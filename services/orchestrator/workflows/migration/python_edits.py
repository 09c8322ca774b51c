"""Change a tool file of the predecessor so that it runs here; everything else stays as it is written."""

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from services.orchestrator.compatibility.modules import (
    UNAVAILABLE,
    module_replacement,
    offers,
    replacement_of,
)
from services.orchestrator.workflows.migration.text_edits import Edit, apply_edits

_ASKING = "use_ui_tool"
_ASKING_MODULE = "ui_tools"
_DISPLAYS = ("inline", "artifact", None)
_RUNTIME_IMPORT = "from workflows.tooling import ToolRuntime\n"
_OWN_FOLDER = re.compile(r"workflows\.([^.]+)(?=\.|$)")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file's new text; `changes` and `decisions` are lines `N: what`."""

    text: str
    changes: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a file is rewritten for.

    `old_folder` and `new_folder` name the workflow's folder, `tools` are the functions of this file that
    models or the runtime call, `called` the names that other code of the folder refers to, `own` the
    folder's modules, and `installed` tells whether a package is.
    """

    old_folder: str
    new_folder: str
    tools: Collection[str] = ()
    called: Collection[str] = ()
    own: Collection[str] = ()
    installed: Callable[[str], bool] = lambda _: False


def rewritten(text: str, around: Surroundings) -> Rewritten:
    """Raises SyntaxError if the text is no Python."""
    return _Rewriter(text, ast.parse(text), around).result()


def names_referred_to(text: str) -> frozenset[str]:
    """Every name that code refers to, definitions excluded; none if it is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.ImportFrom(names=names):
                found.update(one.name for one in names)
            case _:
                pass
    return frozenset(found)


@dataclass(slots=True)
class _Rewriter:
    text: str
    tree: ast.Module
    around: Surroundings
    edits: list[Edit] = field(default_factory=list)
    changes: list[tuple[int, str]] = field(default_factory=list)
    decisions: list[tuple[int, str]] = field(default_factory=list)

    def result(self) -> Rewritten:
        asks = self._rewrite_questions()
        for node in ast.walk(self.tree):
            match node:
                case ast.ImportFrom(level=0, module=str(module)):
                    self._rewrite_from_import(node, module, unneeded=asks)
                case ast.Import():
                    self._rewrite_import(node)
                case _:
                    pass
        edited = apply_edits(self.text, self.edits)
        if not _is_python(edited):  # lines that end with a carriage return alone, for one
            return Rewritten(self.text, (), ("1: cannot be rewritten: change its imports by hand",))
        return Rewritten(edited, _lines(self.changes), _lines(self.decisions))

    # -- use_ui_tool(...) ---------------------------------------------------------------------------

    def _rewrite_questions(self) -> frozenset[str]:
        """Rewrite calls of `use_ui_tool` in tools; the names whose import is not needed any more."""
        bound = self._names_of_use_ui_tool()
        if not bound:
            return frozenset()
        uses = [one for one in ast.walk(self.tree) if isinstance(one, ast.Name) and one.id in bound]
        rewritten_names: list[ast.expr] = []
        for function in self.tree.body:
            if not isinstance(function, ast.AsyncFunctionDef) or not self._may_take_runtime(
                function
            ):
                continue
            calls = [call for call in _own_calls(function) if _is_question(call.func, bound)]
            if calls and all(self._can_rewrite(call) for call in calls):
                self._add_runtime(function)
                for call in calls:
                    self._rewrite_call(call)
                    is_name = isinstance(call.func, ast.Name)
                    rewritten_names.append(call.func if is_name else call.func.value)  # type: ignore[attr-defined]
        if not rewritten_names:
            return frozenset()
        self._add_runtime_import()
        return bound - {one.id for one in uses if one not in rewritten_names}

    def _names_of_use_ui_tool(self) -> frozenset[str]:
        """The names that `use_ui_tool`, or its module, is imported by at the top of the file."""
        return frozenset(
            alias.asname or alias.name
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.level == 0
            for alias in node.names
            if alias.name in (_ASKING, _ASKING_MODULE)
            and self._replacement(node.module or "") is not None
        )

    def _may_take_runtime(self, function: ast.AsyncFunctionDef) -> bool:
        """Whether it is a tool that nothing else calls, and has no parameter of that name."""
        arguments = function.args
        names = [
            one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        ]
        names += [one.arg for one in (arguments.vararg, arguments.kwarg) if one is not None]
        own_calls = names_referred_to(self.text) | frozenset(self.around.called)
        return (
            function.name in self.around.tools
            and function.name not in own_calls
            and "runtime" not in names
            and not arguments.posonlyargs
        )

    def _can_rewrite(self, call: ast.Call) -> bool:
        known = {"tool_id", "ui_tool_id", "payload", "chat_id", "workflow_name", "display"}
        plain = not any(isinstance(one, ast.Starred) for one in call.args)
        named = [one.arg for one in call.keywords]
        shown = [one.value for one in call.keywords if one.arg == "display"] + call.args[4:5]
        literal = all(isinstance(one, ast.Constant) and one.value in _DISPLAYS for one in shown)
        return plain and literal and len(call.args) <= 5 and all(name in known for name in named)

    def _rewrite_call(self, call: ast.Call) -> None:
        """`runtime.use_ui_tool(tool_id, payload, display=...)`, without the chat and the workflow."""
        self._edit(call.func, "runtime.use_ui_tool")
        parts = [self._source(one) for one in call.args[:2]]
        if len(call.args) == 5:
            parts.append(f"display={self._source(call.args[4])}")
        for keyword in call.keywords:
            if keyword.arg not in ("chat_id", "workflow_name"):
                name = "ui_tool_id" if keyword.arg == "tool_id" else keyword.arg
                parts.append(f"{name}={self._source(keyword.value)}")
        kept = {*call.args[:2], *call.args[4:5]}
        dropped: list[ast.expr | ast.keyword] = [one for one in call.args if one not in kept]
        dropped += [one for one in call.keywords if one.arg in ("chat_id", "workflow_name")]
        if len(call.args) < 5:
            self._drop_arguments(call, dropped)
            for keyword in call.keywords:
                if keyword.arg == "tool_id":
                    start = self._offset(keyword.lineno, keyword.col_offset)
                    self.edits.append(Edit(start, start + len("tool_id"), "ui_tool_id"))
        else:
            start = self._offset(call.args[0].lineno, call.args[0].col_offset)
            end = self._end((call.keywords or call.args)[-1])
            self.edits.append(Edit(start, end, ", ".join(parts)))
        self.changes.append((call.lineno, "use_ui_tool(...) is runtime.use_ui_tool(...)"))

    def _drop_arguments(self, call: ast.Call, dropped: Collection[ast.expr | ast.keyword]) -> None:
        """Remove arguments with the separators before them, and their lines where they are alone."""
        ordered: list[ast.expr | ast.keyword] = sorted(
            [*call.args, *call.keywords], key=lambda one: (one.lineno, one.col_offset)
        )
        for before, one in zip([None, *ordered[:-1]], ordered, strict=True):
            if one in dropped:
                start = self._end(before) if before is not None else self._start(one)
                self.edits.append(Edit(start, self._end(one), ""))

    def _add_runtime(self, function: ast.AsyncFunctionDef) -> None:
        arguments = function.args
        position = self.text.index("(", self._start(function) + len("async def ")) + 1
        if function.decorator_list:
            position = (
                self.text.index("(", self.text.index(f"def {function.name}", self._start(function)))
                + 1
            )
        first = arguments.args[0] if arguments.args else None
        if first is not None:
            position = self._start(first)
        is_empty = not (
            arguments.args or arguments.kwonlyargs or arguments.vararg or arguments.kwarg
        )
        line_start = self.text.rfind("\n", 0, position) + 1
        indent = self.text[line_start:position]
        separator = "" if is_empty else ", " if indent.strip() else f",\n{indent}"
        self.edits.append(Edit(position, position, f"runtime: ToolRuntime{separator}"))
        self.changes.append((function.lineno, f"{function.name} has the parameter runtime"))

    def _add_runtime_import(self) -> None:
        if "ToolRuntime" in names_referred_to(self.text):
            return
        after = _last_import_line(self.tree)
        position = (
            self._offset(after + 1, 0) if after < len(self.text.splitlines()) else len(self.text)
        )
        self.edits.append(Edit(position, position, _RUNTIME_IMPORT))

    # -- imports ------------------------------------------------------------------------------------

    def _replacement(self, module: str) -> str | None:
        first = module.partition(".")[0]
        if first in self.around.own or self.around.installed(first):
            return None
        return replacement_of(module)

    def _rewrite_from_import(
        self, node: ast.ImportFrom, module: str, *, unneeded: frozenset[str]
    ) -> None:
        replacement = self._replacement(module)
        if replacement is None:
            self._rename_folder(node, module)
            return
        statements: list[str] = []
        for alias in node.names:
            if (alias.asname or alias.name) in unneeded:
                continue
            statements.append(self._import_of(node, module, alias, replacement))
        indent = " " * node.col_offset
        if statements:
            self._edit(node, f"\n{indent}".join(_joined(statements)))
        else:
            self._remove_statement(node)
        self.changes.append((node.lineno, f"the import of {module} is replaced"))

    def _import_of(
        self, node: ast.ImportFrom, module: str, alias: ast.alias, replacement: str
    ) -> str:
        named = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
        if (whole := module_replacement(module, alias.name)) is not None:
            package, _, last = whole.rpartition(".")
            bound = alias.asname or alias.name
            return f"from {package} import {last if last == bound else f'{last} as {bound}'}"
        if not offers(replacement, alias.name):
            message = (
                f"{module}.{alias.name} is not offered: code that uses it fails when it is called"
            )
            self.decisions.append((node.lineno, message))
        return f"from {replacement} import {named}"

    def _rewrite_import(self, node: ast.Import) -> None:
        for alias in node.names:
            replacement = self._replacement(alias.name)
            if replacement is None:
                self._rename_folder(alias, alias.name)
            elif alias.asname is None and "." in alias.name:
                message = f"import {alias.name} has to be written as `from ... import ...`"
                self.decisions.append((node.lineno, message))
            else:
                self._edit(alias, f"{replacement} as {alias.asname or alias.name}")
                self.changes.append((node.lineno, f"the import of {alias.name} is replaced"))
                if replacement == UNAVAILABLE:
                    message = (
                        f"{alias.name} is not offered: code that uses it fails when it is called"
                    )
                    self.decisions.append((node.lineno, message))

    def _rename_folder(self, node: ast.ImportFrom | ast.alias, module: str) -> None:
        """`from workflows.Old.tools` names the folder that the workflow is imported into."""
        found = _OWN_FOLDER.match(module)
        new, old = self.around.new_folder, self.around.old_folder
        if found is None or found[1] != old or old == new:
            return
        start = self.text.index(f"workflows.{old}", self._start(node)) + len("workflows.")
        self.edits.append(Edit(start, start + len(old), new))
        self.changes.append((node.lineno, f"workflows.{old} is workflows.{new}"))

    def _remove_statement(self, node: ast.stmt) -> None:
        start, end = self._start(node), self._end(node)
        line_start = self.text.rfind("\n", 0, start) + 1
        line_end = self.text.find("\n", end) + 1 or len(self.text)
        is_alone = not self.text[line_start:start].strip() and not self.text[end:line_end].strip()
        if is_alone and node in self.tree.body:
            self.edits.append(Edit(line_start, line_end, ""))
        else:
            self.edits.append(Edit(start, end, "pass"))

    # -- positions ----------------------------------------------------------------------------------

    def _edit(self, node: ast.expr | ast.stmt | ast.alias, text: str) -> None:
        self.edits.append(Edit(self._start(node), self._end(node), text))

    def _source(self, node: ast.expr) -> str:
        return self.text[self._start(node) : self._end(node)]

    def _start(self, node: ast.expr | ast.stmt | ast.alias | ast.keyword | ast.arg) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt | ast.alias | ast.keyword | ast.arg) -> int:
        return self._offset(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)

    def _offset(self, line: int, column: int) -> int:
        """The position of a line's UTF-8 column, as `ast` counts."""
        lines = [f"{one}\n" for one in self.text.split("\n")]
        starts = [0, *accumulate(map(len, lines))]
        if line > len(lines):
            return len(self.text)
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _own_calls(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """The calls in a function's own body: functions within it have no runtime of their own."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            yield node
        waiting += ast.iter_child_nodes(node)


def _is_question(function: ast.expr, names: Collection[str]) -> bool:
    """Whether it is `use_ui_tool` or `ui_tools.use_ui_tool`, by these names."""
    match function:
        case ast.Name(id=name):
            return name in names and name != _ASKING_MODULE
        case ast.Attribute(attr=attribute, value=ast.Name(id=name)):
            return attribute == _ASKING and name in names
        case _:
            return False


def _joined(statements: list[str]) -> list[str]:
    """Imports of the same module in one statement."""
    by_module: dict[str, list[str]] = {}
    for statement in statements:
        head, _, name = statement.partition(" import ")
        by_module.setdefault(head, []).append(name)
    return [f"{head} import {', '.join(names)}" for head, names in by_module.items()]


def _last_import_line(tree: ast.Module) -> int:
    """The last line of the imports at the top of a file, or of its docstring; 0 for neither."""
    last = 0
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (isinstance(node, ast.Import | ast.ImportFrom) or (is_docstring and last == 0)):
            break
        last = node.end_lineno or node.lineno
    return last


def _lines(noted: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(f"{line}: {what}" for line, what in sorted(set(noted)))


def declared_functions(tools: Mapping[str, Collection[str]], path: str) -> Collection[str]:
    """The functions that the manifest names in a file, given by its path in the folder or its name."""
    return {
        function
        for file, functions in tools.items()
        if file in (path, path.removeprefix("tools/"))
        for function in functions
    }
