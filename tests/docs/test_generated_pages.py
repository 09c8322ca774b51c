"""Generated pages are complete and current."""

import re
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

from docs.generators import __main__ as generators
from docs.generators import configuration
from docs.generators.schema_tables import field_table, kind
from infra.plan import VARIABLES, build_plan
from services.chassis.streams.definitions import definitions


def test_every_generated_page_is_current() -> None:
    root = generators.ROOT
    stale = [str(page.relative_to(root)) for page in generators.differences()]
    assert stale == [], "run `make reference`"


def test_a_page_that_differs_is_named_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(generators, "ROOT", tmp_path)
    monkeypatch.setattr(generators, "PAGES", {page: lambda: "# New\n"})
    assert generators.main(["--check"]) == 1
    assert "page.md is not up to date" in capsys.readouterr().err
    assert generators.main([]) == 0
    assert page.read_text() == "# New\n"
    assert generators.main(["--check"]) == 0


class Described(BaseSettings):
    limit: int = Field(default=5, ge=1, le=9)
    """Most | at a time."""
    name: str | None = None
    """Who it is."""


class Undescribed(Described):
    forgotten: bool = False


def test_a_setting_is_shown_with_its_type_bounds_default_and_meaning() -> None:
    section = configuration.Section("Own", "", Described, without=())
    assert list(configuration.rows(section)) == [
        ("LIMIT", "integer, ≥ 1, ≤ 9", "`5`", "Most \\| at a time."),
        ("NAME", "text", "none", "Who it is."),
    ]


def test_a_setting_without_a_description_fails() -> None:
    section = configuration.Section("Own", "", Undescribed, without=(Described,))
    with pytest.raises(configuration.UndescribedError, match="forgotten has no description"):
        list(configuration.rows(section))


class _Recording(dict[str, str]):
    """An environment that notes which of its variables were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        self.read.add(key)
        return super().get(key, default)


def test_every_variable_that_make_run_reads_is_in_the_reference() -> None:
    environment = _Recording()
    build_plan(environment)
    assert environment.read <= configuration.variables()
    assert {variable.name for variable in VARIABLES} <= environment.read


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "text"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"type": "array", "items": {"$ref": "#/$defs/Part"}}, "list of Part"),
        ({"enum": ["a", "b"]}, '`"a"`, `"b"`'),
        ({"const": 1}, "`1`"),
        (
            {"type": "object", "additionalProperties": {"type": "boolean"}},
            "object of true or false",
        ),
        ({}, "any value"),
    ],
)
def test_a_type_of_json_schema_is_put_into_words(schema: dict[str, object], words: str) -> None:
    assert kind(schema) == words


def test_a_table_shows_each_field_with_its_default() -> None:
    properties = {"a": {"type": "integer", "description": "One."}, "b": {"default": 2}}
    table = list(field_table({"properties": properties, "required": ["a"]}))
    assert table[2:4] == ["| `a` | integer | yes | One. |", "| `b` | any value | no, `2` |  |"]


def test_the_architecture_page_lists_every_stream_bucket_and_object_store() -> None:
    page = (generators.ROOT / "docs/overview/architecture.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (stream|bucket|object store) \|", page, re.MULTILINE)
    prefixes = {"stream": "", "bucket": "KV_", "object store": "OBJ_"}
    names = {prefixes[kind] + name for name, kind in listed}
    assert names == {str(config["name"]) for config in definitions(replicas=1)}
