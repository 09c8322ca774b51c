"""The model of the `structured_outputs` section."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from services.orchestrator.workflows.manifest.models.base import Section, named_entries


class OutputField(Section):
    type: str
    description: str = ""
    default: Any = None
    items: Any = None
    values: list[Any] | None = None
    variants: list[Any] | None = None


class OutputModel(Section):
    name: str = Field(min_length=1)
    type: Literal["model"] = "model"
    description: str = ""
    fields: dict[str, OutputField] = {}

    @model_validator(mode="before")
    @classmethod
    def _fields_by_name(cls, data: Any) -> Any:
        match data:
            case {"fields": [*listed]} if all(isinstance(f, dict) and "name" in f for f in listed):
                fields = {
                    str(field["name"]): {k: v for k, v in field.items() if k != "name"}
                    for field in listed
                }
                return {**data, "fields": fields}
        return data


class OutputRegistration(Section):
    agent: str
    agent_definition: str | None = None


def _registrations(value: Any) -> Any:
    if isinstance(value, dict):
        return [{"agent": agent, "agent_definition": model} for agent, model in value.items()]
    return value


class OutputsManifest(Section):
    """`structured_outputs`: the models, and the model of each agent's replies."""

    models: Annotated[list[OutputModel], named_entries(OutputModel)] = []
    registry: Annotated[
        list[OutputRegistration],
        BeforeValidator(
            _registrations, json_schema_input_type=list[OutputRegistration] | dict[str, str | None]
        ),
    ] = []
