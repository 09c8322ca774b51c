"""Rewrite absolute imports of a tool's file: of its own workflow's files, and of the predecessor.

The modules of every version are in a package of their own, so that two versions share none.
Relative imports resolve within that package; absolute imports are rewritten before the file is
compiled. Imports of the predecessor's packages, where they are not installed, become imports of
`services.orchestrator.compatibility`.
"""

import ast
from collections.abc import Callable, Collection
from dataclasses import dataclass

from services.orchestrator.compatibility.modules import module_replacement, replacement_of
from services.orchestrator.workflows.code.shared import SHARED

ROOT = "workflows"
"""The package name by which tools import from the folder of all workflows, wherever it is."""


@dataclass(frozen=True, slots=True)
class OwnModules:
    """The modules of one version, by their full names, all within `package`.

    `installed` tells whether a name is an installed package or module, which takes precedence.
    """

    package: str
    folder: str
    modules: Collection[str]
    installed: Callable[[str], bool]

    def name_of(self, name: str, importing: str) -> str | None:
        """The full name of the module that an absolute import refers to, None if it is not own.

        `importing` is the package of the importing file.
        """
        home = f"{ROOT}.{self.folder}"
        if name == home or name.startswith(f"{home}."):
            return self.package + name.removeprefix(home)
        inner = name.removeprefix(f"{ROOT}.")
        if inner == SHARED or inner.startswith(f"{SHARED}."):
            return f"{self.package}.{inner}"
        first = name.partition(".")[0]
        for package in self._searched(importing):
            if f"{package}.{first}" in self.modules and not self.installed(first):
                return f"{package}.{name}"
        return None

    def _searched(self, importing: str) -> tuple[str, ...]:
        """Where a name without a folder is looked for; shared code has only its own folder."""
        shared = f"{self.package}.{SHARED}"
        if importing == shared or importing.startswith(f"{shared}."):
            return (importing, shared)
        return (importing, f"{self.package}.tools", self.package)

    def replacement(self, name: str, importing: str) -> str | None:
        """The module of the compatibility package for one of the predecessor, None if it is none."""
        found = replacement_of(name)
        if found is None or self.name_of(name, importing) or self.installed(name.partition(".")[0]):
            return None
        return found


def rewrite_imports(tree: ast.Module, own: OwnModules, importing: str) -> ast.Module:
    """The syntax tree with imports of own modules replaced by their full names."""
    renamed: ast.Module = _ImportRewriter(own, importing).visit(tree)
    return ast.fix_missing_locations(renamed)


class _ImportRewriter(ast.NodeTransformer):
    def __init__(self, own: OwnModules, importing: str) -> None:
        self._own = own
        self._importing = importing

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | list[ast.stmt]:
        if node.level != 0 or node.module is None:
            return node
        if (found := self._own.replacement(node.module, self._importing)) is not None:
            return [
                ast.copy_location(_compatible_import(node.module, one, found), node)
                for one in node.names
            ]
        if node.module == ROOT and any(one.name == SHARED for one in node.names):
            return [ast.copy_location(self._from_root(one), node) for one in node.names]
        node.module = self._own.name_of(node.module, self._importing) or node.module
        return node

    def _from_root(self, alias: ast.alias) -> ast.stmt:
        """`from workflows import _shared`"""
        if alias.name == SHARED:
            return ast.ImportFrom(self._own.package, [alias], level=0)
        return ast.ImportFrom(ROOT, [alias], level=0)

    def visit_Import(self, node: ast.Import) -> list[ast.Import]:
        names = [one for alias in node.names for one in self._renamed(alias)]
        return [ast.copy_location(ast.Import([name]), node) for name in names]

    def _renamed(self, alias: ast.alias) -> list[ast.alias]:
        """`import a.b` binds `a`: so both are imported, and the name is bound to `a` in the end."""
        found = self._own.replacement(alias.name, self._importing)
        if found is not None and (alias.asname is not None or "." not in alias.name):
            return [ast.alias(found, alias.asname or alias.name)]
        full = self._own.name_of(alias.name, self._importing)
        first, _, rest = alias.name.partition(".")
        if full is None or (first == ROOT and alias.asname is None):
            return [alias]
        if alias.asname is not None or not rest:
            return [ast.alias(full, alias.asname or first)]
        return [ast.alias(full, first), ast.alias(full.removesuffix(f".{rest}"), first)]


def _compatible_import(package: str, alias: ast.alias, replacement: str) -> ast.stmt:
    module = module_replacement(package, alias.name)
    if module is not None:  # `from core.workflow.outputs import ui_tools`
        return ast.Import([ast.alias(module, alias.asname or alias.name)])
    return ast.ImportFrom(replacement, [alias], level=0)
