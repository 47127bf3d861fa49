"""What is printed: Markdown tables, and for each goal a sentence that says whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Figure

DEFECT = "DEFECT"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside its goal. ``defect`` is the bound above which it is a defect, ``None`` if there is none."""

    figure: str
    value: float | None
    unit: str
    goal: float
    defect: float | None

    @property
    def word(self) -> str:
        if self.value is None:
            return NOT_MEASURED
        if self.value <= self.goal:
            return "holds"
        if self.defect is not None and self.value > self.defect:
            return DEFECT
        return "missed"

    def __str__(self) -> str:
        value = "" if self.value is None else f" {self.value:.2f} {self.unit}"
        bounds = f"goal {self.goal:g}"
        if self.defect is not None and self.defect != self.goal:
            bounds += f", a defect above {self.defect:g}"
        return f"{self.figure}:{value} ({bounds}): **{self.word}**"


@dataclass(slots=True)
class Report:
    """The answer to one scenario. ``failures`` are lines that could not be measured, or not well."""

    name: str
    title: str
    headings: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    """Every sample, for ``--json``."""

    def __str__(self) -> str:
        parts = [f"## {self.title}", "", markdown(self.headings, self.rows), ""]
        parts += [f"- {note}" for note in self.notes]
        parts += [f"- **failed**: {name}: {why}" for name, why in self.failures.items()]
        parts += [f"- {verdict}" for verdict in self.verdicts]
        return "\n".join(parts) + "\n"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads as well in a terminal as on a page: first column to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return "| " + " | ".join(aligned) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(headings), rule, *(line(row) for row in rows)])
