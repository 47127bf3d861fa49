"""The chart of the bench: every bar where it belongs, in text as well, on light and on dark pages."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.chart import BAR, INK, OWN, WIDTH, chart, main
from bench.figures import CPU, Figure, Quantity
from bench.process import Failed
from bench.results import FORMAT, Results, write

SVG = "{http://www.w3.org/2000/svg}"
ABOUT = {"revision": "0123456789ab", "python": "3.11.2", "Envoy": "Envoy 1.40.0", "nginx": "nginx/1.22.1 <dev>"}
FIGURES = [
    Figure("few", "sidecar", CPU, [34.0, 36.0]),
    Figure("few", "Envoy", CPU, [50.0, 60.0]),
    Figure("few", "nginx", CPU, [None, 22.0]),
    Figure("few", "sidecar", Quantity("requests/s", "1/s"), [28000.0, 28100.0]),
    Figure("services", "sidecar", CPU, [34.0], "1 service"),
    Figure("services", "sidecar", CPU, [40.0], "1,000 services"),
    Figure("services", "Envoy", CPU, [None], "1,000 services"),
]


def result(*figures: Figure) -> Results:
    return Results(FORMAT, ABOUT, 2, 5.0, [], list(figures), [], {}, {})


def texts(group: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in group.findall(f"{SVG}text")]


def test_a_bar_is_a_name_a_length_and_a_value() -> None:
    """One group a scenario, one bar for each proxy that was measured; ratios are those of the rounds."""
    root = ElementTree.fromstring(chart(result(*FIGURES)))
    groups = root.findall(f"{SVG}g")
    assert [texts(group) for group in groups] == [["few headers"], ["1,000 services configured"]]
    bars = [[texts(bar) for bar in group.findall(f"{SVG}g")] for group in groups]
    assert bars == [
        [
            ["sidecar", "35.0 µs (0.64 of Envoy's)"],
            ["Envoy", "55.0 µs (1.00 of Envoy's)"],
            ["nginx", "22.0 µs (0.37 of Envoy's)"],
        ],
        [["sidecar", "40.0 µs"]],
    ]
    lengths = [float(rect.get("width", "")) for rect in root.iter(f"{SVG}rect")]
    assert lengths == pytest.approx([length * lengths[1] / 55.0 for length in (35.0, 55.0, 22.0, 40.0)], abs=0.1)


def test_nothing_lies_outside_of_the_picture_or_upon_something_else() -> None:
    """Rows follow each other downwards, and the longest bar leaves room for its value."""
    root = ElementTree.fromstring(chart(result(*FIGURES)))
    height = float(root.get("viewBox", "").split()[3])
    rows = [float(rect.get("y", "")) for rect in root.iter(f"{SVG}rect")]
    assert all(lower - upper >= 20 for upper, lower in pairwise(rows))
    assert rows[-1] + 14 <= height
    assert all(
        float(rect.get("x", "")) + float(rect.get("width", "")) <= WIDTH - 150 for rect in root.iter(f"{SVG}rect")
    )


def test_who_does_not_see_it_is_told_everything() -> None:
    """The picture has a title and a description with every value, and each bar a title of its own."""
    root = ElementTree.fromstring(chart(result(*FIGURES)))
    named = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("role") == "img"
    assert [named[name] for name in root.get("aria-labelledby", "").split()] == [
        "CPU time per request, microseconds: less is better",
        "few headers: sidecar 35.0, Envoy 55.0, nginx 22.0. 1,000 services configured: sidecar 40.0.",
    ]
    assert [bar.findtext(f"{SVG}title") for bar in root.iter(f"{SVG}g") if bar.get("role") == "listitem"] == [
        "sidecar, few headers: 35.0 µs (0.64 of Envoy's)",
        "Envoy, few headers: 55.0 µs (1.00 of Envoy's)",
        "nginx, few headers: 22.0 µs (0.37 of Envoy's)",
        "sidecar, 1,000 services configured: 40.0 µs",
    ]


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("colour", "contrast"), [(INK, 4.0), (BAR, 3.0), (OWN, 3.0)])
@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_every_colour_is_set_off_by_a_light_and_by_a_dark_page(colour: str, contrast: float, page: str) -> None:
    """The picture cannot know on which page it stands, so each of its colours has to do for both."""
    brighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
    assert (brighter + 0.05) / (darker + 0.05) >= contrast
    drawn = set(re.findall(r"#[0-9a-f]{6}", chart(result(*FIGURES))))
    assert drawn == {INK, BAR, OWN}


def test_the_same_result_gives_the_same_bytes_and_says_where_it_comes_from(tmp_path: Path) -> None:
    """A chart can be drawn again and compared; its next lines name revision and versions."""
    write(tmp_path / "results.json", result(*FIGURES))
    for name in ("one.svg", "other.svg"):
        assert main([str(tmp_path / "results.json"), str(tmp_path / name)]) == 0
    one = (tmp_path / "one.svg").read_bytes()
    assert one == (tmp_path / "other.svg").read_bytes()
    lines = texts(ElementTree.fromstring(one))
    assert lines[1:] == [
        "revision 0123456789ab, Python 3.11.2, median of 2 rounds",
        "Envoy 1.40.0, nginx/1.22.1 <dev>",
    ]


def test_a_result_without_a_bar_is_refused() -> None:
    """An empty picture would look like a free proxy."""
    with pytest.raises(Failed, match="no CPU per request"):
        chart(result(FIGURES[3]))
