"""Which imports of a tool's file mean files of its own workflow, and what those are called.

Every version's modules live in a package of their own, so that two versions share none. Relative
imports lead there by themselves; absolute ones are written anew before the file is compiled.
"""

import ast
from collections.abc import Callable, Collection
from dataclasses import dataclass

ROOT = "workflows"
"""How tools name the folder of all workflows, wherever it lies."""


@dataclass(frozen=True, slots=True)
class Own:
    """The modules of one version, by their full names, all within `package`.

    `installed` says whether a name means something to everyone: then it is no file of ours.
    """

    package: str
    folder: str
    modules: Collection[str]
    installed: Callable[[str], bool]

    def name_of(self, name: str, beside: str) -> str | None:
        """The full name of what an absolute import means, none where it is not our own.

        `beside` is the package that holds the importing file.
        """
        home = f"{ROOT}.{self.folder}"
        if name == home or name.startswith(f"{home}."):
            return self.package + name.removeprefix(home)
        first = name.partition(".")[0]
        for place in (beside, f"{self.package}.tools", self.package):
            if f"{place}.{first}" in self.modules and not self.installed(first):
                return f"{place}.{name}"
        return None


def with_own_imports(tree: ast.Module, own: Own, beside: str) -> ast.Module:
    """The same file, its imports of our own modules under their full names."""
    renamed: ast.Module = _Renaming(own, beside).visit(tree)
    return ast.fix_missing_locations(renamed)


class _Renaming(ast.NodeTransformer):
    def __init__(self, own: Own, beside: str) -> None:
        self._own = own
        self._beside = beside

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level == 0 and node.module is not None:
            node.module = self._own.name_of(node.module, self._beside) or node.module
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.Import]:
        names = [one for alias in node.names for one in self._renamed(alias)]
        return [ast.copy_location(ast.Import([name]), node) for name in names]

    def _renamed(self, alias: ast.alias) -> list[ast.alias]:
        """`import a.b` binds `a`: so both are imported, and the name is `a`'s in the end."""
        full = self._own.name_of(alias.name, self._beside)
        first, _, rest = alias.name.partition(".")
        if full is None or (first == ROOT and alias.asname is None):
            return [alias]
        if alias.asname is not None or not rest:
            return [ast.alias(full, alias.asname or first)]
        return [ast.alias(full, first), ast.alias(full.removesuffix(f".{rest}"), first)]
