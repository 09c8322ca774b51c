"""Parse and evaluate conditions of handoff rules, such as `${tests_passed} == True and ${tries} < 3`."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 2_000
MAX_DEPTH = 32
"""How deep parentheses, lists and `not` may be nested."""


class ExpressionError(ValueError):
    """A syntax error: the position (from 1) and what is expected there."""

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
class ListOf:
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`comparison` is one of == != < <= > >= in, not in."""

    left: "Node"
    comparison: str
    right: "Node"


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Node"


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple["Node", ...]


Node = Literal | Variable | ListOf | Comparison | Not | And | Or


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition, and the text that it was parsed from."""

    text: str
    root: Node


def parse(text: str) -> Expression:
    """Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(MAX_LENGTH + 1, f"at most {MAX_LENGTH} characters")
    return Expression(text, _Parser(text).parse())


def evaluate(expression: Expression, variables: Mapping[str, Any]) -> bool:
    """Whether the condition is true. A missing variable is None; values of different types are unequal."""
    return _is_true(_value(expression.root, variables))


# -- parsing ----------------------------------------------------------------------------------

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
    tokens: list[_Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            spaces = len(text[position:]) - len(text[position:].lstrip())
            expected = "an operator or a value" if tokens else _VALUE
            raise ExpressionError(position + spaces + 1, expected)
        kind = match.lastgroup or ""
        word = match.group(kind)
        tokens.append(_Token(kind, _SIGNS.get(word, word), match.start(kind) + 1))
        position = match.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._index = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._or()
        self._require_kind("end", "and, or, or the end")
        return node

    def _or(self) -> Node:
        operands = [self._and()]
        while self._accept("or"):
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _and(self) -> Node:
        operands = [self._not()]
        while self._accept("and"):
            operands.append(self._not())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _not(self) -> Node:
        if not self._accept("not"):
            return self._comparison()
        self._enter_level()
        node = Not(self._not())
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._operand()
        if not self._is(*_COMPARISONS):
            return left
        comparison = self._next().text
        if comparison == "not":
            self._require("in")
            comparison = "not in"
        return Comparison(left, comparison, self._operand())

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
        if self._accept("("):
            return self._parenthesised()
        if self._accept("["):
            return self._list()
        raise ExpressionError(token.position, _VALUE)

    def _parenthesised(self) -> Node:
        self._enter_level()
        node = self._or()
        self._require(")")
        self._depth -= 1
        return node

    def _list(self) -> Node:
        self._enter_level()
        items: list[Node] = []
        while not self._is("]"):
            items.append(self._operand())
            if not self._accept(","):
                break
        self._require("]")
        self._depth -= 1
        return ListOf(tuple(items))

    def _enter_level(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(self._peek.position, f"at most {MAX_DEPTH} levels")

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._index]

    def _next(self) -> _Token:
        token = self._peek
        self._index += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._peek.kind in ("word", "sign") and self._peek.text in texts

    def _accept(self, text: str) -> bool:
        if found := self._is(text):
            self._index += 1
        return found

    def _require(self, text: str) -> None:
        if not self._accept(text):
            raise ExpressionError(self._peek.position, text)

    def _require_kind(self, kind: str, expected: str) -> None:
        if self._peek.kind != kind:
            raise ExpressionError(self._peek.position, expected)


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


# -- evaluating -------------------------------------------------------------------------------

_ORDER_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
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
            return _variable(path, variables)
        case ListOf(items):
            return [_value(item, variables) for item in items]
        case Comparison(left, comparison, right):
            return _compare(_value(left, variables), comparison, _value(right, variables))
        case Not(operand):
            return not _is_true(_value(operand, variables))
        case And(operands):
            return all(_is_true(_value(one, variables)) for one in operands)
        case Or(operands):
            return any(_is_true(_value(one, variables)) for one in operands)


def _is_true(value: Any) -> bool:
    return bool(value)


def _variable(path: tuple[str, ...], variables: Mapping[str, Any]) -> Any:
    value: Any = variables
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _compare(left: Any, comparison: str, right: Any) -> bool:
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
                and (_ORDER_OPERATORS[comparison](left, right))
            )


def _equal(left: Any, right: Any) -> bool:
    return _kind(left) == _kind(right) and bool(left == right)


def _contains(container: Any, item: Any) -> bool:
    match container:
        case str():
            return isinstance(item, str) and item in container
        case list() | tuple():
            return any(_equal(one, item) for one in container)
        case Mapping():
            return isinstance(item, str) and item in container
        case _:
            return False


def _kind(value: Any) -> str:
    """The type for comparisons: True is not 1, and '1' is not 1."""
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list() | tuple():
            return "list"
        case _:
            return type(value).__name__
