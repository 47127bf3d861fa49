"""What ``bench.balancing`` found, drawn: a panel for each algorithm, the share of the one endpoint over time.

As in ``bench.chart``: no background, colours that stand out from black and from white, everything said in text too, and
the same bytes for the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from bench.balancing import ALGORITHMS, BEGIN, END, RATE, SECONDS, Run, run
from bench.chart import INK, OWN
from sidecar.balance.make import Algorithm

SECOND: Final = "#3b82c4"
WIDTH: Final = 720
COLUMNS: Final = 4
LEFT, TOP = 34, 66
PANEL_WIDTH, PANEL_HEIGHT = 142, 84
STEP_X, STEP_Y = 174, 148
SLOW_START: Final = 20.0


class Picture(NamedTuple):
    """``scenario`` of ``bench.balancing``; ``most``: the end of the scale; ``amiss``: what the band means."""

    scenario: str
    title: str
    amiss: str
    most: float
    slow_start: bool = False


PICTURES: Final = {
    "balancing-slow.svg": Picture(
        "slow", "One of ten endpoints is ten times slower for 20 s: its share of the requests", "it is slow", 0.2
    ),
    "balancing-failing.svg": Picture(
        "failing", "One of ten endpoints fails at once for 20 s: its share of the requests", "it answers 500", 0.3
    ),
    "balancing-silent.svg": Picture(
        "silent", "One of ten endpoints does not answer for 20 s: its share of the requests", "it hangs", 0.2
    ),
    "balancing-new.svg": Picture(
        "new",
        "A tenth endpoint joins, cold and ten times slower at first: its share of the requests",
        "it warms up",
        0.2,
        True,
    ),
}


def pictures() -> dict[str, str]:
    """Each picture by the name of its file."""
    return {name: _drawn(picture) for name, picture in PICTURES.items()}


def _drawn(picture: Picture) -> str:
    rows = -(-(len(ALGORITHMS) + 1) // COLUMNS)
    height = TOP + rows * STEP_Y - 30
    panels = [
        line
        for index, algorithm in enumerate(ALGORITHMS)
        for line in _panel(picture, algorithm, *_corner(index), first=index % COLUMNS == 0)
    ]
    about = (
        f"10 endpoints, {RATE:.0f} requests/s, simulated, no breakers, no retries; p50 and p99 of all answers meanwhile"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="title description">',
            f'<title id="title">{escape(picture.title)}</title>',
            f'<desc id="description">{escape(_in_words(picture))}</desc>',
            f"<style>svg {{ color: {INK} }} text {{ font: 11px system-ui, sans-serif; fill: currentColor }}"
            " .head { font-weight: 600; font-size: 14px } .name { font-weight: 600; font-size: 12px }"
            f" .line {{ fill: none; stroke: {OWN}; stroke-width: 1.6; stroke-linejoin: round }}"
            f" .second {{ stroke: {SECOND} }} .even {{ stroke: currentColor; stroke-dasharray: 3 3 }}"
            " .axis { stroke: currentColor; stroke-width: 0.8 } .band { fill: currentColor; opacity: 0.16 }</style>",
            f'<text class="head" x="0" y="16">{escape(picture.title)}</text>',
            f'<text x="0" y="33">{escape(about)}</text>',
            *panels,
            *_legend(picture, *_corner(len(ALGORITHMS))),
            "</svg>\n",
        ]
    )


def _corner(index: int) -> tuple[int, int]:
    row, column = divmod(index, COLUMNS)
    return LEFT + column * STEP_X, TOP + row * STEP_Y


def _panel(picture: Picture, algorithm: Algorithm, x: int, y: int, first: bool) -> Iterator[str]:
    result = run(algorithm, picture.scenario)
    p50, p99 = (result.percentile(share, BEGIN, END) * 1000 for share in (0.5, 0.99))
    bottom = y + PANEL_HEIGHT
    yield "<g>"
    yield f'<text class="name" x="{x}" y="{y - 6}">{algorithm}</text>'
    begin, end = x + _across(BEGIN), x + _across(END)
    yield f'<rect class="band" x="{begin:.1f}" y="{y}" width="{end - begin:.1f}" height="{PANEL_HEIGHT}"/>'
    even = _y(0.1, picture, bottom)
    yield f'<line class="even" x1="{x}" y1="{even:.1f}" x2="{x + PANEL_WIDTH}" y2="{even:.1f}"/>'
    yield f'<line class="axis" x1="{x}" y1="{bottom}" x2="{x + PANEL_WIDTH}" y2="{bottom}"/>'
    yield f'<line class="axis" x1="{x}" y1="{y}" x2="{x}" y2="{bottom}"/>'
    if first:
        for share in (0.0, 0.1, picture.most):
            yield f'<text x="{x - 4}" y="{_y(share, picture, bottom) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
    for second in (0, 20, 40, 60):
        unit = " s" if second == SECONDS else ""
        yield f'<text x="{x + _across(second):.1f}" y="{bottom + 13}" text-anchor="middle">{second}{unit}</text>'
    yield _line(result, picture, x, bottom, "line")
    if picture.slow_start and algorithm != "ring_hash":
        slow = run(algorithm, picture.scenario, SLOW_START)
        yield _line(slow, picture, x, bottom, "line second")
        p99_slow = slow.percentile(0.99, BEGIN, END) * 1000
        yield f'<text x="{x}" y="{bottom + 28}">p99 {p99:.0f} ms, with it {p99_slow:.0f} ms</text>'
    elif failed := result.failed(BEGIN, END):
        yield f'<text x="{x}" y="{bottom + 28}">{failed:.1%} of all fail, p99 {p99:.0f} ms</text>'
    else:
        yield f'<text x="{x}" y="{bottom + 28}">p50 {p50:.0f} ms, p99 {p99:.0f} ms</text>'
    yield "</g>"


def _line(result: Run, picture: Picture, x: int, bottom: int, kind: str) -> str:
    points = " ".join(
        f"{x + _across(second + 0.5):.1f},{_y(result.share(0, second, second + 1), picture, bottom):.1f}"
        for second in range(SECONDS)
    )
    return f'<polyline class="{kind}" points="{points}"/>'


def _across(second: float) -> float:
    return second / SECONDS * PANEL_WIDTH


def _y(share: float, picture: Picture, bottom: int) -> float:
    return bottom - min(share, picture.most) / picture.most * PANEL_HEIGHT


def _legend(picture: Picture, x: int, y: int) -> Iterator[str]:
    entries: Sequence[tuple[str, str]] = [
        (f'<line class="line" x1="{x}" x2="{x + 18}" y1="{{0}}" y2="{{0}}"/>', "its share, by the second"),
        *(
            [(f'<line class="line second" x1="{x}" x2="{x + 18}" y1="{{0}}" y2="{{0}}"/>', "with slow start, 20 s")]
            if picture.slow_start
            else []
        ),
        (f'<line class="even" x1="{x}" x2="{x + 18}" y1="{{0}}" y2="{{0}}"/>', "an even share"),
        (f'<rect class="band" x="{x}" y="{{1}}" width="18" height="12"/>', f"while {picture.amiss}"),
    ]
    for index, (mark, words) in enumerate(entries):
        at = y + 10 + 20 * index
        yield mark.format(at, at - 6)
        yield f'<text x="{x + 25}" y="{at + 4}">{escape(words)}</text>'


def _in_words(picture: Picture) -> str:
    """What the lines show, for whoever does not see them."""
    return " ".join(
        f"{algorithm}: {result.share(0, 0, BEGIN):.0%} before, {result.share(0, END - 10, END):.1%} in the last ten seconds "
        f"of it, {result.share(0, SECONDS - 10, SECONDS):.0%} at the end."
        for algorithm in ALGORITHMS
        for result in (run(algorithm, picture.scenario),)
    )
