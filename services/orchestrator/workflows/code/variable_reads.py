"""Find which context variables a workflow's Python file reads, from its syntax tree."""

import ast
from typing import NamedTuple

_DICT = "context_variables"


class VariableRead(NamedTuple):
    name: str
    line: int


def variable_reads(source: bytes) -> list[VariableRead]:
    """Each read of a variable by a constant name; none where the file is no Python.

    Reads are `context_variables["name"]` and `context_variables.get("name")`, of a parameter or of
    the runtime. A name that the code computes is not found.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = [read for node in ast.walk(tree) if (read := _read(node)) is not None]
    return sorted(set(found), key=lambda read: (read.line, read.name))


def _read(node: ast.AST) -> VariableRead | None:
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            pass
        case ast.Call(
            func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(name)), *_]
        ):
            pass
        case _:
            return None
    return VariableRead(name, node.lineno) if _is_variables(value) else None


def _is_variables(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name == _DICT
        case _:
            return False
