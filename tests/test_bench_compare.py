"""Two results of the bench side by side: what is news, what is noise, and what must not pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.compare import BETTER, ELSEWHERE, GONE, NEW, SAME, UNSURE, WORSE, changes, judge, main
from bench.figures import CPU, Figure, Quantity, each, middle, percentile, ratios
from bench.process import Failed
from bench.results import FORMAT, Results, read, write
from bench.table import Verdict

MEMORY = Quantity("memory at rest", "MB", portable=True)
SPEED = Quantity("requests/s", "1/s", more_is_better=True)
HERE = {"revision": "aaaa", "processor": "a processor", "memory": "8 GiB", "kernel": "6.1", "python": "3.11.2"}
ELSE = HERE | {"processor": "another"}


def result(*figures: Figure, about: dict[str, str] = HERE, **more: object) -> Results:
    """A run with these figures."""
    fields = {"notes": [], "goals": [], "failures": {}, "samples": {}} | more
    return Results(format=FORMAT, about=about, rounds=2, seconds=5.0, figures=list(figures), **fields)  # type: ignore[arg-type]


def cpu(*rounds: float | None, proxy: str = "sidecar") -> Figure:
    return Figure("few", proxy, CPU, list(rounds))


def words(old: Results, new: Results) -> dict[str, str]:
    return {f"{change.figure.proxy}, {change.figure.quantity.name}": change.word for change in changes(old, new)}


# Figures


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.5, 5), (0.51, 6), (0.9, 9), (0.99, 10), (0.999, 10), (1.0, 10)]
)
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    """Nearest rank: always one of the values, the largest one for the last."""
    assert percentile(range(1, 11), share) == value


def test_a_percentile_is_not_moved_by_how_shares_are_stored() -> None:
    """0.55 times a hundred is a little more than 55 in binary, and still names the 55th; nothing has zero."""
    assert percentile(range(1, 101), 0.55) == 55
    assert percentile(range(1, 1001), 0.999) == 999
    assert percentile([], 0.99) == 0.0


def test_ratios_are_taken_within_a_round() -> None:
    """A round that one of the two lacks, or in which the base is nothing, has none."""
    assert ratios([3.0, None, 8.0, 1.0], [6.0, 2.0, 4.0, 0.0]) == [0.5, None, 2.0, None]
    assert middle([None, 3.0, 1.0]) == 2.0
    assert middle([None]) is None
    assert each(["ab", None], len) == [2, None]


# Verdicts


@pytest.mark.parametrize(
    ("old", "new", "quantity", "word"),
    [
        ([30, 31], [40, 41], CPU, WORSE),
        ([40, 41], [30, 31], CPU, BETTER),
        ([30, 31], [32, 33], CPU, SAME),  # apart, but not by more than the same code twice
        ([30, 45], [44, 60], CPU, SAME),  # far apart in the middle, but a round of one lies among the other's
        ([30, None, 31], [40, 41, None], CPU, WORSE),
        ([30, 31], [None, 40], CPU, UNSURE),  # one round of time shows no spread to be beyond
        ([34], [44], MEMORY, WORSE),
        ([1000, 1010], [1300, 1310], SPEED, BETTER),
        ([1000, 1010], [700, 710], SPEED, WORSE),
        ([0], [0], MEMORY, SAME),
        ([-1], [2], MEMORY, WORSE),
    ],
)
def test_news_is_what_lies_beyond_the_rounds_and_beyond_noise(
    old: list[float], new: list[float], quantity: Quantity, word: str
) -> None:
    """Both are asked for, and the direction depends on the quantity."""
    assert judge(old, new, quantity) == word


def test_time_is_judged_beside_envoy_where_both_runs_have_it() -> None:
    """A machine that has become slower for both is not the sidecar's fault; a sidecar that has alone is."""
    old = result(cpu(30, 31), cpu(60, 62, proxy="Envoy"))
    slower_machine = result(cpu(60, 62), cpu(120, 124, proxy="Envoy"))
    slower_sidecar = result(cpu(40, 41), cpu(60, 62, proxy="Envoy"))
    assert words(old, slower_machine)["sidecar, CPU per request"] == SAME
    assert words(old, slower_sidecar)["sidecar, CPU per request"] == WORSE


def test_without_envoy_time_compares_on_one_machine_only_and_memory_everywhere() -> None:
    """Memory means the same on every machine."""
    old = result(cpu(30, 31), Figure("idle", "sidecar", MEMORY, [34.0]))
    figures = (cpu(40, 41), Figure("idle", "sidecar", MEMORY, [44.0]))
    assert words(old, result(*figures))["sidecar, CPU per request"] == WORSE
    assert words(old, result(*figures, about=ELSE)) == {
        "sidecar, CPU per request": ELSEWHERE,
        "sidecar, memory at rest": WORSE,
    }


def test_what_only_one_of_them_measured_is_told_and_is_no_objection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of fewer scenarios is no worse for it."""
    old = result(cpu(30, 31), Figure("idle", "sidecar", MEMORY, [34.0]))
    new = result(cpu(30, 31), Figure("64k", "sidecar", CPU, [60, 61]))
    assert [change.word for change in changes(old, new)] == [SAME, NEW, GONE]
    assert compared(tmp_path, old, new) == 0
    assert "Nothing is worse." in capsys.readouterr().out


def compared(directory: Path, old: Results, new: Results, *options: str) -> int:
    """Exit status of the command."""
    write(directory / "old.json", old)
    write(directory / "new.json", new)
    return main([str(directory / "old.json"), str(directory / "new.json"), *options])


def test_a_worse_figure_of_the_sidecar_ends_with_one_and_shows_both_sides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has old, new, their ratio, both ratios to Envoy's and the verdict."""
    old = result(cpu(30, 31), cpu(60, 62, proxy="Envoy"))
    assert compared(tmp_path, old, result(cpu(60, 62), cpu(60, 62, proxy="Envoy"), about=ELSE)) == 1
    output = capsys.readouterr().out
    (line,) = [line for line in output.splitlines() if line.startswith("| few")]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "few, CPU per request",
        "30.50 µs",
        "61.00 µs",
        "2.00",
        "0.50",
        "1.00",
        WORSE,
    ]
    assert "- **worse: few, CPU per request**" in output
    assert "not the same processor: a processor, then another" in output


def test_another_proxy_that_became_worse_is_nobodys_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are the background: shown when asked for, never judged."""
    old, new = (result(cpu(30, 31), cpu(nginx, nginx, proxy="nginx")) for nginx in (20, 40))
    assert compared(tmp_path, old, new, "--all") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "nginx" in line]
    assert WORSE not in line


@pytest.mark.parametrize(
    ("more", "objection"),
    [
        ({"goals": [Verdict("resident memory, idle", 50.0, "MB", 45, 45)]}, "DEFECT: resident memory, idle"),
        ({"failures": {"churn": {"sidecar": "3 requests failed"}}}, "failed: churn, sidecar: 3 requests failed"),
    ],
)
def test_a_defect_or_a_failure_of_the_sidecar_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, object], objection: str
) -> None:
    """However good the figures are; the same of another proxy, or a goal only missed, would."""
    assert compared(tmp_path, result(cpu(30)), result(cpu(20), **more)) == 1
    assert f"- **{objection}**" in capsys.readouterr().out
    missed = {
        "goals": [Verdict("CPU per request", 0.7, "of Envoy's", 0.6, 0.75)],
        "failures": {"few": {"nginx": "gone"}},
    }
    assert compared(tmp_path, result(cpu(30)), result(cpu(20), **missed)) == 0


# Files


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    """Rounds without a value, goals, failures and samples of any shape included."""
    run = result(
        cpu(30.5, None),
        Figure("services", "Envoy", CPU, [70.25], "1,000 services"),
        goals=[Verdict("start", 178.9, "ms", 300, None), Verdict("memory", None, "MB", 45, 45)],
        failures={"few": {"nginx": "ended with status 1"}},
        samples={"start": {"sidecar": {"seconds": [0.2, 0.3]}}},
    )
    write(tmp_path / "run.json", run)
    assert read(tmp_path / "run.json") == run


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory; `make bench` writes bench-results.json"),
        (b"{", "not a result of `python -m bench --json`"),
        (b'{"about": {}, "scenarios": {}}', "not a result of `python -m bench --json`, or one of another version"),
    ],
)
def test_what_is_no_result_is_refused_with_the_name_of_the_file(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    """Missing, damaged, or of a time when results looked otherwise."""
    file = tmp_path / "some.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Failed) as refusal:
        read(file)
    assert str(refusal.value).startswith(str(file))
    assert complaint in str(refusal.value)


def test_two_results_without_a_common_figure_are_not_said_to_be_fine(tmp_path: Path) -> None:
    """Nothing compared is nothing shown to be as good."""
    with pytest.raises(Failed, match="have no figure in common"):
        compared(tmp_path, result(cpu(30)), result(Figure("idle", "sidecar", MEMORY, [34.0])))
