"""Draws what stands beside another server: how many times less ours takes, one bar for each figure.

An SVG that browsers show in the colours of the page around it. The scale is logarithmic, or the
small factors could not be seen beside the large ones.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.figures import Figure, ratio

WIDTH = 900
ROW = 28
#: Where one time as much is, and how far it is to ten times.
ONE, DECADE = 390, 150
VALUES = 880

_STYLE = """\
    text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif;
           font-size: 13px; fill: #1f2933; }
    .title { font-size: 16px; font-weight: 600; }
    .small { font-size: 12px; fill: #52606d; }
    .end { text-anchor: end; }
    .mid { text-anchor: middle; }
    .paper { fill: #fbfaf7; }
    .less { fill: #2f7d5b; }
    .more { fill: #c2681d; }
    .axis { stroke: #9aa5b1; stroke-width: 1; }
    .grid { stroke: #dfe3e8; stroke-width: 1; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .small { fill: #a9b4c0; }
      .paper { fill: #12171e; }
      .less { fill: #4fae85; }
      .more { fill: #e08a44; }
      .axis { stroke: #6b7785; }
      .grid { stroke: #2a333e; }
    }"""


def drawn(figures: Sequence[Figure], rivals: Sequence[str], header: Mapping[str, str]) -> str:
    """The figures that stand beside one of `rivals`, by rival."""
    body: list[str] = []
    top = 62.0
    for rival in rivals:
        rows = [one for one in figures if one.beside_is == rival and ratio(one)]
        if not rows:
            continue
        body.append(f'  <text class="title" x="20" y="{top:.0f}">Beside {escape(rival)}</text>')
        body.append(f'  <text class="small" x="{ONE}" y="{top:.0f}">ours takes … times less</text>')
        body += _scale(top + 12, len(rows))
        for number, figure in enumerate(rows):
            body += _row(figure, top + 26 + number * ROW)
        top += 26 + len(rows) * ROW + 44
    height = top - 10
    about = f"{header['date']} · {header['machine']} · Python {header['python']}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"',
            '  role="img" aria-labelledby="title desc">',
            '  <title id="title">How many times less ours takes</title>',
            f'  <desc id="desc">{escape("; ".join(_sentences(figures, rivals)))}</desc>',
            f"  <style>\n{_STYLE}\n  </style>",
            f'  <rect class="paper" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
            f'  <text class="small" x="20" y="28">{escape(about)}</text>',
            *body,
            "</svg>\n",
        ]
    )


def _scale(top: float, rows: int) -> Iterator[str]:
    bottom = top + rows * ROW + 6
    for factor in (0.1, 1, 10, 100):
        x, kind = _x(factor), "axis" if factor == 1 else "grid"
        yield f'  <line class="{kind}" x1="{x}" y1="{top:.0f}" x2="{x}" y2="{bottom:.0f}"/>'
        yield f'  <text class="small mid" x="{x}" y="{bottom + 14:.0f}">{factor:g} x</text>'


def _row(figure: Figure, top: float) -> Iterator[str]:
    factor = 1 / (ratio(figure) or 1)
    end = _x(factor)
    left, width = min(ONE, end), abs(end - ONE)
    kind = "less" if factor >= 1 else "more"
    middle = top + 13
    yield f'  <text x="20" y="{middle:.0f}">{escape(_name(figure))}</text>'
    yield (
        f'  <rect class="{kind}" x="{left}" y="{top:.0f}" width="{max(width, 1)}" height="17" '
        'rx="2"/>'
    )
    beyond = max(end, ONE) + 6
    yield f'  <text x="{beyond}" y="{middle:.0f}">{_short(factor)} x</text>'
    values = escape(_values(figure))
    yield f'  <text class="small end" x="{VALUES}" y="{middle:.0f}">{values}</text>'


def _sentences(figures: Sequence[Figure], rivals: Sequence[str]) -> Iterator[str]:
    for figure in figures:
        if figure.beside_is in rivals and (times := ratio(figure)):
            yield f"{_name(figure)}: {_short(1 / times)} times less than {figure.beside_is}"


def _x(factor: float) -> int:
    return ONE + round(DECADE * math.log10(min(max(factor, 0.1), 200)))


def _name(figure: Figure) -> str:
    return figure.what.partition(", ours and ")[0]


def _values(figure: Figure) -> str:
    assert figure.beside is not None
    return (
        f"{_short(figure.ours.median)} {figure.unit}, not "
        f"{_short(figure.beside.median)} {figure.unit}"
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
