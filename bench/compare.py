"""``python -m bench.compare OLD NEW``: what has changed between two results of ``python -m bench --json``.

The same code measured twice gives two results. So a figure is better or worse only where the rounds of one run all lie
beyond those of the other, and their medians are further apart than two runs of the same code may be (`Quantity.noise`).

Time is the machine's as much as the code's: what is measured in it is judged by its ratio to Envoy's in the same round
if both runs have that, else by itself if both ran on the same machine, else not at all.

Exits with 1 if a figure is worse, a goal is a defect, or the sidecar failed at something; with 2 if it cannot compare.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Quantity, Rounds, middle
from bench.machine import LOAD
from bench.process import Failed
from bench.proxies import SIDECAR
from bench.results import Results, read
from bench.table import DEFECT, Report

BETTER, WORSE, SAME = "better", "WORSE", "same"
GONE, NEW, ELSEWHERE, UNSURE = "gone", "new", "another machine", "too few rounds"

MACHINE = ("processor", "memory", "kernel", "python")
"""What must be the same for times to mean the same."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure in two runs; ``old_beside`` and ``new_beside`` are its ratios to Envoy's."""

    figure: Figure
    old: float | None
    new: float | None
    old_beside: float | None
    new_beside: float | None
    word: str


def changes(old: Results, new: Results) -> list[Change]:
    """Every figure of either run, in the order of the new one, then what is gone."""
    before = {figure.key: figure for figure in old.figures}
    after = {figure.key: figure for figure in new.figures}
    same_machine = all(old.about.get(fact) == new.about.get(fact) for fact in MACHINE)
    found = []
    for key, figure in (after | {key: figure for key, figure in before.items() if key not in after}).items():
        one, other = before.get(key), after.get(key)
        beside = [[] if it is None else run.of_envoy(it) for it, run in ((one, old), (other, new))]
        values = [None if it is None else it.value for it in (one, other)]
        if one is None or values[0] is None:
            word = NEW
        elif other is None or values[1] is None:
            word = GONE
        elif figure.quantity.portable:
            word = judge(one.rounds, other.rounds, figure.quantity)
        elif all(middle(ratios) is not None for ratios in beside):
            word = judge(beside[0], beside[1], figure.quantity)
        elif same_machine:
            word = judge(one.rounds, other.rounds, figure.quantity)
        else:
            word = ELSEWHERE
        found.append(Change(figure, values[0], values[1], middle(beside[0]), middle(beside[1]), word))
    return found


def judge(old: Rounds, new: Rounds, quantity: Quantity) -> str:
    """Better, worse or the same; both must have a value, and of time two, since one shows no spread."""
    one, other = (sorted(value for value in rounds if value is not None) for rounds in (old, new))
    if not quantity.portable and min(len(one), len(other)) < 2:
        return UNSURE
    apart = one[-1] < other[0] or other[-1] < one[0]
    before, after = middle(one), middle(other)
    assert before is not None
    assert after is not None
    # Of the larger one, so that there and back again are the same distance; and zero has neighbours too.
    distance = abs(after - before) / max(abs(after), abs(before), 1e-9)
    if not apart or distance <= quantity.noise:
        return SAME
    return BETTER if (after > before) == quantity.more_is_better else WORSE


def objections(old: Results, new: Results, found: Sequence[Change]) -> list[str]:
    """Why the new run must not pass, a line each."""
    lines = [
        f"worse: {_title(change.figure)}"
        for change in found
        if change.word == WORSE and change.figure.proxy == SIDECAR.name
    ]
    lines += [f"{DEFECT}: {goal.figure}" for goal in new.goals if goal.word == DEFECT]
    lines += [
        f"failed: {scenario}, {label}: {why}"
        for scenario, failures in new.failures.items()
        for label, why in failures.items()
        if label.startswith(SIDECAR.name)
    ]
    return lines


def table(old: Results, new: Results, found: Sequence[Change], everyone: bool) -> Report:
    """The sidecar's figures, or those of every proxy."""
    headings = ["figure", "old", "new", "new/old", "of Envoy's, old", "new", "verdict"]
    report = Report("compare", f"{old.about.get('revision')} and {new.about.get('revision')}", headings)
    for fact in MACHINE:
        if old.about.get(fact) != new.about.get(fact):
            report.notes.append(f"not the same {fact}: {old.about.get(fact)}, then {new.about.get(fact)}")
    loads = [run.about.get(LOAD, "unknown") for run in (old, new)]
    report.notes.append(f"{LOAD}: {', then '.join(loads)}")
    if (old.rounds, old.seconds) != (new.rounds, new.seconds):
        runs = (f"{run.rounds} rounds of {run.seconds:g} s" for run in (old, new))
        report.notes.append(f"not the same patience: {', then '.join(runs)}")
    for change in found:
        own = change.figure.proxy == SIDECAR.name
        if own or everyone:
            factor = change.new / change.old if change.old and change.new is not None else None
            unit = change.figure.quantity.unit
            report.rows.append(
                [
                    _title(change.figure),
                    _shown(change.old, unit),
                    _shown(change.new, unit),
                    *(
                        "" if value is None else f"{value:.2f}"
                        for value in (factor, change.old_beside, change.new_beside)
                    ),
                    # What has become of the others is the background, not news.
                    change.word if own else "",
                ]
            )
    return report


def _title(figure: Figure) -> str:
    proxy = "" if figure.proxy == SIDECAR.name else figure.proxy
    return ", ".join(part for part in (figure.scenario, proxy, figure.variant, figure.quantity.name) if part)


def _shown(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.{0 if abs(value) >= 1000 else 2}f} {unit}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description="What has changed between two results."
    )
    parser.add_argument("old", type=Path, help="a file of `python -m bench --json`")
    parser.add_argument("new", type=Path)
    parser.add_argument("--all", action="store_true", help="the figures of the other proxies too")
    args = parser.parse_args(arguments)
    old, new = read(args.old), read(args.new)
    found = changes(old, new)
    if not any(change.old is not None and change.new is not None for change in found):
        raise Failed(f"{args.old} and {args.new} have no figure in common")
    print(table(old, new, found, args.all))
    against = objections(old, new, found)
    print("\n".join(f"- **{line}**" for line in against) or "Nothing is worse.")
    return 1 if against else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        sys.exit(2)
