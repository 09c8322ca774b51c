"""JSON Schemas of the manifest sections, for editors: one file per section in `schemas/`."""

import json
from pathlib import Path

from pydantic import BaseModel

from services.orchestrator.workflows.manifest.section_reader import SECTION_MODELS

FOLDER = Path(__file__).parent / "schemas"


def schema_files() -> dict[str, str]:
    """The text of each schema by file name."""
    return {f"{stem}.json": _text(model) for stem, model in SECTION_MODELS.items()}


def _text(model: type[BaseModel]) -> str:
    """The schema; a manifest may name it, for editors."""
    schema = model.model_json_schema()
    own = {"$schema": {"type": "string", "description": "The path or address of this schema."}}
    schema["properties"] = own | schema.get("properties", {})
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def stale_files() -> list[str]:
    """The names of the files that differ from the models."""
    return [
        name
        for name, text in schema_files().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != text
    ]


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in schema_files().items():
        (FOLDER / name).write_text(text)
