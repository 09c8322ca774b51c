"""Collect the problems of one workflow, with locations as paths in the sections' files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.orchestrator.workflows.manifest.diagnostics import (
    FieldPath,
    Problem,
    Severity,
    closest_name,
)
from services.orchestrator.workflows.manifest.losses import NOTHING_LOST, Losses
from services.orchestrator.workflows.manifest.sections import Source


@dataclass(slots=True)
class Report:
    """Collects problems; locations in a model become paths in the section's file.

    What follows from `losses` is left out: a problem within a part that could not be read whole, unless
    it is about a name (`about`: its kind and the name), and a name that may be in such a part.
    """

    sources: Mapping[str, Source]
    problems: list[Problem] = field(default_factory=list)
    losses: Losses = NOTHING_LOST

    def add(
        self,
        section: str,
        path: FieldPath,
        message: str,
        *,
        found: str = "",
        accepted: Iterable[str] = (),
        hint: str = "",
        severity: Severity = "error",
        about: tuple[str, str] | None = None,
    ) -> None:
        source = self.sources.get(section) or Source(f"{section}.json", None)
        place = source.path_of(path)
        if self.losses.has(*about) if about else self.losses.covers(source.file, place):
            return
        self.problems.append(
            Problem(source.file, place, message, found, tuple(accepted), hint, severity)
        )

    def unknown(
        self,
        section: str,
        path: FieldPath,
        kind: str,
        name: str,
        known: list[str],
        *,
        severity: Severity = "error",
    ) -> None:
        hint, message = closest_name(name, known), f"there is no {kind} {name}"
        about = (kind, name)
        self.add(section, path, message, accepted=known, hint=hint, severity=severity, about=about)
