"""Records who visits."""

from logs.logging_config import get_workflow_logger

log = get_workflow_logger("Intake")


def record_name(name: str, context_variables=None) -> str:
    # An empty name is a mistake of the model.
    if not name.strip():
        return "A name is needed."
    context_variables.set("visitor", name)
    log.info("visitor recorded", visitor=name)
    return f"{name} is recorded."
