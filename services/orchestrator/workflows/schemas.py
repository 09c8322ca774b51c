"""The sections' JSON Schemas, for editors: written to `schemas/`, one file per section."""

import json
from pathlib import Path

from services.orchestrator.workflows.loading import MODELS

FOLDER = Path(__file__).parent / "schemas"


def documents() -> dict[str, str]:
    """Every schema's file name and text."""
    return {
        f"{stem}.json": json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        for stem, model in MODELS.items()
    }


def differences() -> list[str]:
    return [
        name
        for name, text in documents().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != text
    ]


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in documents().items():
        (FOLDER / name).write_text(text)
