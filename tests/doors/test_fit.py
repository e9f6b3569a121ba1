"""Results are kept short, where it hurts least."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.desk.texts import longest_start
from codex_control_plane_mcp.doors.mcp.fit import (
    compact,
    cut_report,
    drop_first,
    drop_last,
    fit,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_what_fits_is_left_as_it_is() -> None:
    assert fit({"ok": True, "text": "x"}, (), limit=100) == {"ok": True, "text": "x"}


def test_rules_are_followed_in_their_order_and_no_further_than_needed() -> None:
    result = {"ok": True, "old": ["x" * 50] * 4, "kept": ["y" * 50] * 4}

    fitted = fit(result, (drop_first("old"), drop_last("kept")), limit=400)

    assert (len(fitted["old"]), len(fitted["kept"])) == (2, 4)
    assert fitted["truncated"] is True


def test_whoever_drops_the_last_is_told_how_many_are_left() -> None:
    def note(result: dict[str, Any], left: int) -> None:
        result["next"] = left

    items = [{"n": n, "text": "x" * 100} for n in range(10)]
    fitted = fit({"items": items}, (drop_last("items", then=note),), limit=500)

    assert 1 < len(fitted["items"]) == fitted["next"] < 10
    assert len(compact(fitted)) <= 500


@given(TEXT, st.integers(2, 200))
def test_the_longest_start_fits_and_no_longer_one_does(text: str, limit: int) -> None:
    start = longest_start(text, limit)

    assert text.startswith(start)
    assert len(compact(start)) <= limit
    if start != text:
        assert len(compact(text[: len(start) + 1])) > limit


@given(st.lists(TEXT.map(lambda text: text * 200), min_size=1, max_size=5))
def test_long_texts_wherever_they_are_are_cut_with_a_note(texts: list[str]) -> None:
    result = {"ok": True, "deep": [{"inner": {"text": text}} for text in texts]}

    assert len(compact(fit(result, (), limit=2_000))) <= 2_000


@given(TEXT.map(lambda text: (text or "-") * 100))
def test_a_report_is_cut_with_a_cursor_to_the_rest(text: str) -> None:
    report = {
        "text": text,
        "offset": 7,
        "nextOffset": None,
        "readFullVia": {"tool": "t", "arguments": {"report_offset": 0}},
    }

    shown = fit({"ok": True, "finalReport": report}, (cut_report,), limit=1_000)["finalReport"]

    assert text.startswith(shown["text"])
    if shown["text"] != text:
        assert shown["nextOffset"] == 7 + len(shown["text"])
        assert shown["readFullVia"]["arguments"]["report_offset"] == shown["nextOffset"]
