"""`python -m contracts.compatibility` refuses a breaking change of contracts/schemas/.

The schemas are compared with those of the last commit (under CI, of the commit before it) and with
those of the commit that last raised contracts/schemas/GENERATION. A schema may accept more than
before, never less: what was written stays readable, and who reads finds what was there. Only a
raised GENERATION lets a break pass.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "schemas"
GENERATION = "GENERATION"

Schema = Mapping[str, Any]
Files = Mapping[str, str]
"""Texts by their path below the folder."""

_ANYTHING: Schema = {}
_NEVER_LOWER = (
    "maximum",
    "exclusiveMaximum",
    "maxLength",
    "maxItems",
    "maxProperties",
)
_NEVER_HIGHER = (
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "minProperties",
)
_NEVER_ADDED_OR_CHANGED = ("pattern", "format", "multipleOf", "uniqueItems", "allOf", "not")


# -- the comparison, which is pure -----------------------------------------------------------------


def breaks(old: Files, new: Files) -> list[str]:
    """What readers or writers of the old files cannot live with in the new ones, a line each.

    None where the new generation is higher. A generation that is lower is itself a break.
    """
    before, now = generation(old), generation(new)
    if now > before:
        return []
    if now < before:
        return [f"{GENERATION}: {now} where it was {before}"]
    return [one for path in sorted(old) for one in _breaks_of_file(path, old, new)]


def generation(files: Files) -> int:
    """How often a break was intended; 0 where nothing says it. Raises ValueError."""
    return int(files.get(GENERATION, "0"))


def _breaks_of_file(path: str, old: Files, new: Files) -> Iterator[str]:
    if path == GENERATION:
        return
    if path not in new:
        yield f"{path}: removed"
        return
    before, now = json.loads(old[path]), json.loads(new[path])
    is_schema = "asyncapi" not in before
    found = (
        _Comparison(before, now).breaks(before, now, "") if is_schema else _channels(before, now)
    )
    yield from (f"{path}: {one}" for one in found)


def _channels(old: Schema, new: Schema) -> Iterator[str]:
    for name, before in old["channels"].items():
        now = new["channels"].get(name)
        if now is None:
            yield f"channel {name}: removed"
            continue
        if before["address"] != now["address"]:
            yield f"channel {name}: address {before['address']} became {now['address']}"
        for message in before["messages"].keys() - now["messages"].keys():
            yield f"channel {name}: message {message} removed"
    found, comparison = _own_schemas(new), _Comparison(old, new)
    for name, schema in _own_schemas(old).items():
        if name in found:
            yield from comparison.breaks(schema, found[name], name)
        else:
            yield f"schema {name}: removed"


def _own_schemas(document: Schema) -> dict[str, Schema]:
    """Those inside an AsyncAPI document, beside the files it refers to."""
    return dict(document.get("components", {}).get("schemas", {}))


class _Comparison:
    """Two documents: each resolves references into itself."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[str, str]] = set()

    def breaks(self, old: Schema, new: Schema, place: str) -> list[str]:
        """What the new schema refuses, or no longer promises, at a place: `body.items[]`."""
        pair = (old.get("$ref", ""), new.get("$ref", ""))
        if pair in self._open or not (
            old or new
        ):  # compared further up, or anything before and now
            return []
        if all(pair):
            self._open.add(pair)
        try:
            return self._compared(old, new, place)
        finally:
            self._open.discard(pair)

    def _compared(self, old: Schema, new: Schema, place: str) -> list[str]:
        before, now = _alternatives(old, self._old), _alternatives(new, self._new)
        if len(before) == len(now) == 1:
            return list(self._of_one(before[0], now[0], place))
        return [one for schema in before for one in self._of_alternative(schema, now, place)]

    def _of_alternative(self, old: Schema, now: list[Schema], place: str) -> list[str]:
        """The breaks against the alternative that comes nearest."""
        found = [list(self._of_one(old, new, place)) for new in now]
        nearest = min(found, key=len, default=[])
        if nearest and not any(_is_same_kind(old, new) for new in now):
            return [f"{_at(place)}: no longer {_name(old)}"]
        return nearest

    def _of_one(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        yield from _type(old, new, place)
        yield from _values(old, new, place)
        yield from _bounds(old, new, place)
        yield from self._properties(old, new, place)
        yield from self._others(old, new, place)
        yield from self._items(old, new, place)

    def _properties(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in now:
                yield f"{_at(place, name)}: removed"
            else:
                yield from self.breaks(before[name], now[name], _below(place, name))
        for name in set(new.get("required", [])) - set(old.get("required", [])):
            yield f"{_at(place, name)}: newly required"

    def _others(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        """Properties that are not named."""
        before, now = (_schema(one.get("additionalProperties", True)) for one in (old, new))
        if before is not None and now is None:
            yield f"{_at(place)}: refuses properties that are not named"
        elif before is not None and now is not None:
            yield from self.breaks(before, now, _below(place, "*"))

    def _items(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, now = (_schema(one.get("items", True)) for one in (old, new))
        if before is not None and now is None:
            yield f"{_at(place)}: refuses further items"
        elif before is not None and now is not None:
            yield from self.breaks(before, now, f"{place}[]")
        firsts = [one.get("prefixItems", []) for one in (old, new)]
        for number, (first, same) in enumerate(zip(*firsts, strict=False)):
            yield from self.breaks(first, same, f"{place}[{number}]")
        if len(firsts[0]) != len(firsts[1]):
            yield f"{_at(place)}: {len(firsts[1])} first items where there were {len(firsts[0])}"


def _alternatives(schema: Schema, document: Schema) -> list[Schema]:
    """What a schema may be, one after the other, references resolved."""
    if (reference := schema.get("$ref")) is not None:
        return _alternatives(_resolved(reference, document), document)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return [one for part in schema[word] for one in _alternatives(part, document)]
    return [schema]


def _resolved(reference: str, document: Schema) -> Schema:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _schema(given: bool | Schema) -> Schema | None:  # noqa: FBT001  # JSON Schema's own two forms
    """None refuses everything."""
    if isinstance(given, bool):
        return _ANYTHING if given else None
    return given


def _types(schema: Schema) -> set[str]:
    given = schema.get("type", [])
    return {given} if isinstance(given, str) else set(given)


def _type(old: Schema, new: Schema, place: str) -> Iterator[str]:
    before, now = _types(old), _types(new)
    if now and (not before or not before <= now):
        yield f"{_at(place)}: {_named(now)} where it was {_named(before)}"


def _named(types: set[str]) -> str:
    return " or ".join(sorted(types)) or "anything"


def _allowed(schema: Schema) -> list[Any] | None:
    """The only values that there are; none where there are others."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _values(old: Schema, new: Schema, place: str) -> Iterator[str]:
    before, now = _allowed(old), _allowed(new)
    if now is None:
        return
    if before is None:
        yield f"{_at(place)}: only {json.dumps(now)}"
        return
    for value in before:
        if value not in now:
            yield f"{_at(place)}: no longer {json.dumps(value)}"


def _bounds(old: Schema, new: Schema, place: str) -> Iterator[str]:
    for word in (*_NEVER_LOWER, *_NEVER_HIGHER):
        before, now = old.get(word), new.get(word)
        if now is None or before == now:
            continue
        narrower = before is None or (now < before if word in _NEVER_LOWER else now > before)
        if narrower:
            yield f"{_at(place)}: {word} {now} where it was {before}"
    for word in _NEVER_ADDED_OR_CHANGED:
        if word in new and new[word] != old.get(word):
            yield f"{_at(place)}: {word} {json.dumps(new[word])} where it was {json.dumps(old.get(word))}"


def _is_same_kind(old: Schema, new: Schema) -> bool:
    """Whether two alternatives are the same one before and after a change."""
    if "title" in old and old.get("title") == new.get("title"):
        return True
    return bool(_types(old) & _types(new)) and "object" not in _types(old)


def _name(schema: Schema) -> str:
    values = _allowed(schema)
    return str(schema.get("title") or (values and json.dumps(values)) or _named(_types(schema)))


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _at(place: str, name: str = "") -> str:
    return (_below(place, name) if name else place) or "the whole"


# -- the entry point, which asks git ---------------------------------------------------------------


def main() -> int:
    names = [file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*") if file.is_file()]
    new = {name: (FOLDER / name).read_text() for name in names if _is_ours(name)}
    last = "HEAD^" if os.environ.get("CI") == "true" else "HEAD"
    commits = dict.fromkeys([_commit("rev-parse", "--verify", "--quiet", last), _raised()])
    found = {one: commit for commit in commits if commit for one in breaks(_files(commit), new)}
    for one, commit in found.items():
        print(f"contracts/schemas/{one} (since {commit[:12]})")
    if found:
        print("This breaks what others read or write: CONTRIBUTING.md says what may change.")
    return 1 if found else 0


def _raised() -> str:
    """The commit that last changed GENERATION; nothing where there is none."""
    return _commit("log", "-1", "--format=%H", "--", f"{FOLDER}/{GENERATION}")


def _commit(*arguments: str) -> str:
    """Nothing where there is none, as in an archive without history."""
    try:
        return _git(*arguments).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _files(commit: str) -> dict[str, str]:
    """The folder as a commit holds it."""
    listed = _git("ls-tree", "-r", "--name-only", "-z", commit, "--", "./")
    return {n: _git("show", f"{commit}:./{n}") for n in listed.split("\0") if _is_ours(n)}


def _is_ours(name: str) -> bool:
    return name == GENERATION or name.endswith(".json")


def _git(*arguments: str) -> str:
    """Raises OSError (no git) and CalledProcessError."""
    done = subprocess.run(  # noqa: S603  # words of our own
        ["git", "-C", str(FOLDER), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
