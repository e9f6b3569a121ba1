"""Keeps a result short enough for every client, and says so where something was left out.

Clients cut what is too long wherever it happens to be; here it is cut where it hurts least, in an
order that each tool declares, and with a cursor where there is one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic_core import to_json

from codex_control_plane_mcp.desk.texts import longest_start

Json = dict[str, Any]
#: Shortens a result in place by (about) so many characters, as far as it can.
Shorten = Callable[[Json, int], None]

#: Codex cuts at about 12,000, others later.
MAX_RESULT_CHARS = 10_000
#: Kept free for the cursor that a shortened list needs.
CURSOR_CHARS = 100
#: No text is cut below this.
MIN_TEXT_CHARS = 120


def compact(value: object) -> str:
    """The text of a result: JSON without white space."""
    return to_json(value).decode()


def fit(result: Json, rules: Sequence[Shorten], limit: int = MAX_RESULT_CHARS) -> Json:
    """`result`, shortened by one rule after the other until it fits."""
    for shorten in (*rules, cut_longest_texts):
        excess = len(compact(result)) - limit
        if excess <= 0:
            break
        if "truncated" not in result:
            result["truncated"] = True
            excess = len(compact(result)) - limit
        shorten(result, excess)
    return result


def drop_first(name: str) -> Shorten:
    """Leave out the first items of a list: the oldest."""

    def shorten(result: Json, excess: int) -> None:
        items = result.get(name) or []
        while items and excess > 0:
            excess -= len(compact(items.pop(0))) + 1

    return shorten


def drop_last(
    name: str, *, keep: int = 1, then: Callable[[Json, int], None] | None = None
) -> Shorten:
    """Leave out the last items of a list, and tell `then` how many are left."""

    def shorten(result: Json, excess: int) -> None:
        items = result.get(name) or []
        before = len(items)
        excess += CURSOR_CHARS if then is not None else 0
        while len(items) > keep and excess > 0:
            excess -= len(compact(items.pop())) + 1
        if then is not None and len(items) < before:
            then(result, len(items))

    return shorten


def cut_page(name: str, text_field: str, cursor: str) -> Shorten:
    """Cut the page of a long text, and let its cursor point to where it was cut."""

    def shorten(result: Json, excess: int) -> None:
        page = result.get(name)
        if page is None:
            return
        text = page[text_field]
        kept = longest_start(text, max(MIN_TEXT_CHARS, len(compact(text)) - excess - 40))
        page[text_field] = kept
        if len(kept) < len(text):
            next_offset = page["offset"] + len(kept)
            page["nextOffset"] = next_offset
            page["readFullVia"]["arguments"][cursor] = next_offset

    return shorten


cut_report = cut_page("finalReport", "text", "report_offset")
#: What is cut with a cursor, and in no other way.
_PAGED = frozenset({"finalReport", "latestPlan", "candidatePlan"})


def cut_longest_texts(result: Json, excess: int) -> None:
    """The last resort: cut the longest texts, wherever they are, each with a note of how much."""
    while excess > 0:
        holder, key = max(_texts(result), key=lambda at: len(at[0][at[1]]), default=(None, None))
        if holder is None or len(holder[key]) <= MIN_TEXT_CHARS + 40:
            return
        text, before = holder[key], len(compact(holder[key]))
        kept = longest_start(text, max(MIN_TEXT_CHARS, before - excess - 40))
        holder[key] = f"{kept}… [{len(text) - len(kept)} characters cut]"
        excess -= before - len(compact(holder[key]))


def _texts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every text in a result, but of those that have their cursor."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, str):
            yield value, key
        elif isinstance(item, dict | list) and key not in _PAGED:
            yield from _texts(item)
