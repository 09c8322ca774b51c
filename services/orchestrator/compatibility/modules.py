"""Which module of this package stands for a module of the predecessor, or of AG2 before version 1."""

from importlib import import_module

_HERE = "services.orchestrator.compatibility"
_OLD_PACKAGES = ("core", "mozaiksai", "logs", "autogen")
UNAVAILABLE = f"{_HERE}.unavailable"
"""The module that has every name, and none of them works."""


def replacement_of(module: str) -> str | None:
    """The full name of the module to import instead; None if it is no module of the predecessor."""
    parts = module.split(".")
    if parts[0] not in _OLD_PACKAGES:
        return None
    if parts[0] == "autogen":
        return f"{_HERE}.autogen"
    match parts[-1]:
        case "ui_tools":
            return f"{_HERE}.ui_tools"
        case "logging_config":
            return f"{_HERE}.logging_config"
        case _ if "events" in parts or "event_dispatcher" in parts[-1]:
            return f"{_HERE}.events"
        case _:
            return UNAVAILABLE


def module_replacement(package: str, name: str) -> str | None:
    """The same for `from package import name`, if the name is that of a module; else None."""
    if package.split(".")[0] not in _OLD_PACKAGES:
        return None
    found = replacement_of(f"{package}.{name}")
    is_module = name in ("ui_tools", "logging_config")
    return found if is_module else None


def offers(module: str, name: str) -> bool:
    """Whether a module of this package has a name that works."""
    return name in getattr(import_module(module), "__all__", ()) or (
        module == f"{_HERE}.logging_config" and name.endswith("logger")
    )
