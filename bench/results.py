"""The result of a run as a file: all samples, the machine, the revision; and such a file read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Figure, Rounds, ratios
from bench.process import Failed
from bench.proxies import ENVOY
from bench.table import Verdict

FORMAT = 2


class Results(msgspec.Struct, forbid_unknown_fields=True):
    """One run. ``failures`` and ``samples`` by scenario; samples are as the scenario took them."""

    format: int
    about: dict[str, str]
    rounds: int
    seconds: float
    notes: list[str]
    figures: list[Figure]
    goals: list[Verdict]
    failures: dict[str, dict[str, str]]
    samples: dict[str, dict[str, Any]]

    def of_envoy(self, figure: Figure) -> Rounds:
        """``figure`` by the same figure of Envoy, round by round; empty if there is none."""
        scenario, _, variant, name = figure.key
        for other in self.figures:
            if other.key == (scenario, ENVOY.name, variant, name):
                return ratios(figure.rounds, other.rounds)
        return []


def write(path: Path, results: Results) -> None:
    """Write ``results`` as JSON for people: indented, one key a line."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def read(path: Path) -> Results:
    """The run in ``path``; raises `Failed` where it is missing or not such a file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}; `make bench` writes bench-results.json") from error
    try:
        results = msgspec.json.decode(content, type=Results)
    except msgspec.DecodeError as error:
        raise Failed(f"{path}: not a result of `python -m bench --json`, or one of another version: {error}") from error
    if results.format != FORMAT:
        raise Failed(f"{path}: format {results.format} instead of {FORMAT}: measure again")
    return results
