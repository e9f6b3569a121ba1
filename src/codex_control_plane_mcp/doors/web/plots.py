"""Plots as SVG, drawn here: a few bars need no library, and no script.

Colours and type are the style sheet's; a plot has shapes and words only.
"""

from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

from codex_control_plane_mcp.desk.views_overview import Share
from codex_control_plane_mcp.doors.web.words import amount, duration

WIDTH: Final = 720
HEIGHT: Final = 220
_LEFT, _TOP, _RIGHT, _BOTTOM = 66, 12, 16, 28
_GRID_LINES: Final = 4

#: What a bar is made of, from below: its class, its words, and how much.
Part = tuple[str, str, Callable[[Share], float]]
TOKENS: Final[tuple[Part, ...]] = (
    ("cached", "read from the cache", lambda share: share.cached_tokens),
    ("input", "read anew", lambda share: share.input_tokens),
    ("output", "written", lambda share: share.output_tokens),
)
SECONDS: Final[tuple[Part, ...]] = (("time", "at work", lambda share: share.seconds),)


def days(shares: Sequence[Share], parts: Sequence[Part], label: str) -> Markup:
    """One bar for each day."""
    is_time = parts is SECONDS
    say = duration if is_time else amount
    top = _nice(max((_sum(share, parts) for share in shares), default=0), 3600 if is_time else 1)
    inner = HEIGHT - _TOP - _BOTTOM
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(shares))
    shapes = [_grid(top, say, inner)]
    for number, share in enumerate(shares):
        left, bottom = _LEFT + number * step, float(HEIGHT - _BOTTOM)
        shapes.append(Markup("<g><title>{}</title>").format(_told(share, parts, say)))
        for kind, _, measure in parts:
            height = measure(share) / top * inner
            if height > 0:
                bottom -= height
                shapes.append(_rect(kind, left + step * 0.15, bottom, step * 0.7, height))
        # The whole column can be pointed at.
        shapes.append(_rect("hit", left, _TOP, step, inner))
        shapes.append(Markup("</g>"))
        if _is_labelled(number, len(shares)):
            shapes.append(_text("day", left + step / 2, HEIGHT - 8, share.name[5:]))
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, label, Markup("").join(shapes))


def bar(share: Share, most: float, parts: Sequence[Part]) -> Markup:
    """One bar that lies, as long as its part of `most`."""
    shapes, left = [], 0.0
    for kind, _, measure in parts:
        width = measure(share) / (most or 1) * 100
        shapes.append(_rect(kind, left, 0, width, 10))
        left += width
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>"
    ).format(Markup("").join(shapes))


def _grid(top: float, say: Callable[[float], str], inner: float) -> Markup:
    lines = []
    for number in range(_GRID_LINES + 1):
        height = _TOP + inner * (1 - number / _GRID_LINES)
        lines.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, WIDTH, height, height
            )
        )
        lines.append(_text("scale", _LEFT - 8, height + 4, say(top * number / _GRID_LINES)))
    return Markup("").join(lines)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
        kind, x, y, width, height
    )


def _text(kind: str, x: float, y: float, words: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, words)


def _told(share: Share, parts: Sequence[Part], say: Callable[[float], str]) -> str:
    amounts = ", ".join(f"{say(measure(share))} {words}" for _, words, measure in parts)
    return f"{share.name}: {amounts}; {share.tasks} {'task' if share.tasks == 1 else 'tasks'}"


def _sum(share: Share, parts: Sequence[Part]) -> float:
    return sum(measure(share) for _, _, measure in parts)


def _is_labelled(number: int, count: int) -> bool:
    """About ten of them, the last one in any case."""
    return (count - 1 - number) % max(1, round(count / 10)) == 0


def _nice(most: float, unit: float) -> float:
    """A round number that is at least `most`, and can be divided by four for the eye."""
    size = unit
    while True:
        for times in (1, 2, 4, 6, 8):
            if size * times >= most:
                return size * times
        size *= 10
