"""Conditions of rules, as `${tests_passed} == True and ${tries} < 3`: a small language, never Python."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 2_000
MAX_DEPTH = 32
"""How many parentheses, lists and `not` may stand inside one another."""


class ExpressionError(ValueError):
    """What is wrong with an expression: where (its first character is 1), and what belongs there."""

    def __init__(self, position: int, expected: str) -> None:
        super().__init__(f"at {position}: expected {expected}")
        self.position = position
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Variable:
    """`${order.bread}`: the key `bread` of the variable `order`."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """`comparison` is one of == != < <= > >= in, not in."""

    left: "Node"
    comparison: str
    right: "Node"


@dataclass(frozen=True, slots=True)
class Negated:
    operand: "Node"


@dataclass(frozen=True, slots=True)
class AllOf:
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    operands: tuple["Node", ...]


Node = Literal | Variable | Listed | Compared | Negated | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition, and the text that it was read from."""

    text: str
    root: Node


def parse(text: str) -> Expression:
    """Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(MAX_LENGTH + 1, f"at most {MAX_LENGTH} characters")
    return Expression(text, _Parser(text).whole())


def evaluate(expression: Expression, variables: Mapping[str, Any]) -> bool:
    """Whether the condition holds; a missing variable is None, and unlike things are never equal."""
    return _holds(_value(expression.root, variables))


# -- reading ----------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<variable>\$\{\s*[^\W\d][\w-]*(?:\.[\w-]+)*\s*\})
      | (?P<number>-?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>==|!=|<=|>=|&&|\|\||[<>!()\[\],])
    )""",
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = {
    "True": True,
    "true": True,
    "False": False,
    "false": False,
    "None": None,
    "null": None,
}
_SIGNS = {"&&": "and", "||": "or", "!": "not"}
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">=", "in", "not"}
_VALUE = "a value: ${name}, a number, 'text', True, False, None, a [list] or ( )"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            blank = len(text[at:]) - len(text[at:].lstrip())
            raise ExpressionError(at + blank + 1, _VALUE if not found else "an operator or a value")
        kind = match.lastgroup or ""
        word = match.group(kind)
        found.append(_Token(kind, _SIGNS.get(word, word), match.start(kind) + 1))
        at = match.end()
    return [*found, _Token("end", "", len(text) + 1)]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._any()
        self._end("end", "and, or, or the end")
        return node

    def _any(self) -> Node:
        operands = [self._all()]
        while self._takes("or"):
            operands.append(self._all())
        return operands[0] if len(operands) == 1 else AnyOf(tuple(operands))

    def _all(self) -> Node:
        operands = [self._negated()]
        while self._takes("and"):
            operands.append(self._negated())
        return operands[0] if len(operands) == 1 else AllOf(tuple(operands))

    def _negated(self) -> Node:
        if not self._takes("not"):
            return self._comparison()
        self._deeper()
        node = Negated(self._negated())
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._operand()
        if not self._is(*_COMPARISONS):
            return left
        comparison = self._next().text
        if comparison == "not":
            self._must("in")
            comparison = "not in"
        return Compared(left, comparison, self._operand())

    def _operand(self) -> Node:
        token = self._peek
        match token.kind:
            case "variable":
                return Variable(tuple(self._next().text[2:-1].strip().split(".")))
            case "number":
                return Literal(_number(self._next().text))
            case "string":
                return Literal(re.sub(r"(?s)\\(.)", r"\1", self._next().text[1:-1]))
            case "word" if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[self._next().text])
        if self._takes("("):
            return self._inside()
        if self._takes("["):
            return self._list()
        raise ExpressionError(token.position, _VALUE)

    def _inside(self) -> Node:
        self._deeper()
        node = self._any()
        self._must(")")
        self._depth -= 1
        return node

    def _list(self) -> Node:
        self._deeper()
        items: list[Node] = []
        while not self._is("]"):
            items.append(self._operand())
            if not self._takes(","):
                break
        self._must("]")
        self._depth -= 1
        return Listed(tuple(items))

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(self._peek.position, f"at most {MAX_DEPTH} levels")

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._peek
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._peek.kind in ("word", "sign") and self._peek.text in texts

    def _takes(self, text: str) -> bool:
        if found := self._is(text):
            self._at += 1
        return found

    def _must(self, text: str) -> None:
        if not self._takes(text):
            raise ExpressionError(self._peek.position, text)

    def _end(self, kind: str, expected: str) -> None:
        if self._peek.kind != kind:
            raise ExpressionError(self._peek.position, expected)


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


# -- judging ----------------------------------------------------------------------------------

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _value(node: Node, variables: Mapping[str, Any]) -> Any:
    match node:
        case Literal(value):
            return value
        case Variable(path):
            return _found(path, variables)
        case Listed(items):
            return [_value(item, variables) for item in items]
        case Compared(left, comparison, right):
            return _compares(_value(left, variables), comparison, _value(right, variables))
        case Negated(operand):
            return not _holds(_value(operand, variables))
        case AllOf(operands):
            return all(_holds(_value(one, variables)) for one in operands)
        case AnyOf(operands):
            return any(_holds(_value(one, variables)) for one in operands)


def _holds(value: Any) -> bool:
    return bool(value)


def _found(path: tuple[str, ...], variables: Mapping[str, Any]) -> Any:
    value: Any = variables
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _compares(left: Any, comparison: str, right: Any) -> bool:
    match comparison:
        case "==":
            return _equal(left, right)
        case "!=":
            return not _equal(left, right)
        case "in":
            return _contains(right, left)
        case "not in":
            return not _contains(right, left)
        case _:
            return (
                _kind(left) in ("number", "text")
                and _kind(left) == _kind(right)
                and (_ORDERS[comparison](left, right))
            )


def _equal(left: Any, right: Any) -> bool:
    return _kind(left) == _kind(right) and bool(left == right)


def _contains(whole: Any, part: Any) -> bool:
    match whole:
        case str():
            return isinstance(part, str) and part in whole
        case list() | tuple():
            return any(_equal(item, part) for item in whole)
        case Mapping():
            return isinstance(part, str) and part in whole
        case _:
            return False


def _kind(value: Any) -> str:
    """What may be compared with its like: True is not 1, and '1' is not 1."""
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list() | tuple():
            return "list"
        case _:
            return type(value).__name__
