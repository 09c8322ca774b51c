"""Placeholders for what this product does not offer: importing them works, using them raises."""

from typing import Any, NoReturn

__all__: list[str] = []


class UnavailableError(Exception):
    """Something of the predecessor that is not offered here was used."""


class _Unavailable(type):
    """The metaclass of placeholders: their attributes cannot be used, either."""

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnavailableError(f"{cls.__name__}.{name} is not offered by this runtime")


def placeholder(name: str) -> Any:
    """A class of this name, which may be an annotation, a base class or an exception to catch."""
    if name.endswith(("Error", "Exception")):
        return type(name, (Exception,), {})

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise UnavailableError(f"{name} is not offered by this runtime")

    return _Unavailable(name, (), {"__new__": refuse})


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(name)
