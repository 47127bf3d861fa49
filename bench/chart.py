"""``python -m bench.chart RESULTS SVG``: a result of ``python -m bench --json`` as bars, CPU per request.

The picture stands in pages that are light or dark and cannot tell it which. So it has no background, and every colour is
one that both black and white set off. It says everything in text too, for those who do not see it. The same result gives
the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from bench.figures import CPU, Figure, middle
from bench.process import Failed
from bench.proxies import SIDECAR
from bench.results import Results, read

TITLES = {
    ("few", ""): "few headers",
    ("eleven", ""): "eleven headers",
    ("64k", ""): "64 KiB response",
    ("churn", ""): "a new connection for each request",
    ("services", "1,000 services"): "1,000 services configured",
    ("grpc", ""): "unary gRPC call",
}
"""What is drawn, by scenario and variant, in this order."""

OTHERS = ("Envoy", "HAProxy", "nginx", "aiohttp")

INK, BAR, OWN = "#757b83", "#8b929c", "#d2691e"

WIDTH, NAMES, VALUES = 720, 110, 190
BAR_HEIGHT, BAR_STEP, GROUP_GAP, TOP = 14, 20, 34, 82


def chart(results: Results) -> str:
    """The picture; raises `Failed` if there is nothing to draw."""
    groups = list(_groups(results))
    if not groups:
        raise Failed("the result holds no CPU per request, which is what the chart shows")
    scale = (WIDTH - NAMES - VALUES) / max(value for _, bars in groups for _, value, _ in bars)
    lines: list[str] = []
    y = TOP
    for title, bars in groups:
        lines.append(f'<g role="list" aria-label={quoteattr(title)}>')
        lines.append(f'<text class="head" x="0" y="{y}">{escape(title)}</text>')
        y += 10
        for figure, value, beside in bars:
            lines += _bar(figure, value, beside, title, y, scale)
            y += BAR_STEP
        lines.append("</g>")
        y += GROUP_GAP
    height = y - GROUP_GAP
    subject = "CPU time per request, microseconds: less is better"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="title description">',
            f'<title id="title">{escape(subject)}</title>',
            f'<desc id="description">{escape(_in_words(groups))}</desc>',
            f"<style>svg {{ color: {INK} }} text {{ font: 13px system-ui, sans-serif; fill: currentColor }}"
            " .head { font-weight: 600; font-size: 14px } .own { font-weight: 600 } .small { font-size: 11px }</style>",
            f'<text class="head" x="0" y="16">{escape(subject)}</text>',
            *(
                f'<text class="small" x="0" y="{34 + 15 * i}">{escape(line)}</text>'
                for i, line in enumerate(_origin(results))
            ),
            *lines,
            "</svg>\n",
        ]
    )


Bar = tuple[Figure, float, float | None]


def _groups(results: Results) -> Iterator[tuple[str, list[Bar]]]:
    """Title and bars of each scenario that has any: what is drawn, CPU in microseconds, ratio to Envoy."""
    for (scenario, variant), title in TITLES.items():
        bars: list[Bar] = [
            (figure, figure.value, middle(results.of_envoy(figure)))
            for figure in results.figures
            if (figure.scenario, figure.variant, figure.quantity.name) == (scenario, variant, CPU.name)
            and figure.value is not None
        ]
        if bars:
            yield title, bars


def _bar(figure: Figure, value: float, beside: float | None, title: str, y: int, scale: float) -> list[str]:
    own = figure.proxy == SIDECAR.name
    ratio = "" if beside is None else f" ({beside:.2f} of Envoy's)"
    label = "own" if own else "other"
    length = value * scale
    return [
        '<g role="listitem">',
        f"<title>{escape(f'{figure.proxy}, {title}: {value:.1f} µs{ratio}')}</title>",
        f'<text class="{label}" x="{NAMES - 8}" y="{y + 11}" text-anchor="end">{escape(figure.proxy)}</text>',
        f'<rect x="{NAMES}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2" fill="{OWN if own else BAR}"/>',
        f'<text class="{label}" x="{NAMES + length + 6:.1f}" y="{y + 11}">{escape(f"{value:.1f} µs{ratio}")}</text>',
        "</g>",
    ]


def _in_words(groups: Sequence[tuple[str, list[Bar]]]) -> str:
    return " ".join(
        f"{title}: {', '.join(f'{figure.proxy} {value:.1f}' for figure, value, _ in bars)}." for title, bars in groups
    )


def _origin(results: Results) -> tuple[str, str]:
    """Where the figures come from: the run, and the others' versions."""
    rounds = f"median of {results.rounds} rounds" if results.rounds > 1 else "one round"
    run = f"revision {results.about.get('revision', 'unknown')}, Python {results.about.get('python', 'unknown')}, {rounds}"
    return run, ", ".join(results.about[name] for name in OTHERS if name in results.about)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chart", description="Draw a result.")
    parser.add_argument("results", type=Path, help="a file of `python -m bench --json`")
    parser.add_argument("svg", type=Path, help="where to write the picture")
    args = parser.parse_args(arguments)
    args.svg.write_text(chart(read(args.results)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        print(f"bench.chart: {error}", file=sys.stderr)
        sys.exit(1)
