"""Moments: what time it is, how it is shown, and that time never runs backwards between two."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import Moment, SystemClock, isoformat, later, seconds_between

#: From 1970 to the year 2200. Beyond that a float of seconds is too coarse for milliseconds.
moments = st.integers(0, 7_258_118_400_000).map(Moment)


def test_the_system_clock_tells_the_time_of_the_machine_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    now = SystemClock().now()
    assert before <= now <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_769_860_800_250, "2026-01-31T12:00:00.250Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_a_moment_is_shown_in_utc_with_milliseconds(moment: int, text: str) -> None:
    assert isoformat(Moment(moment)) == text


@given(moment=moments)
def test_what_is_shown_reads_back_to_the_millisecond(moment: Moment) -> None:
    shown = datetime.fromisoformat(isoformat(moment))
    assert shown.tzinfo == UTC
    assert round(shown.timestamp() * 1000) == moment


@given(one=moments, other=moments)
def test_what_is_shown_sorts_as_the_moments_do(one: Moment, other: Moment) -> None:
    assert (one < other) == (isoformat(one) < isoformat(other))


@given(moment=moments, milliseconds=st.integers(0, 10**9))
def test_so_many_seconds_later_is_so_many_seconds_between(
    moment: Moment, milliseconds: int
) -> None:
    seconds = milliseconds / 1000
    assert seconds_between(moment, later(moment, seconds)) == seconds
    assert later(later(moment, seconds), -seconds) == moment


@given(moment=moments, milliseconds=st.integers(0, 10**9))
def test_no_time_has_passed_when_the_wall_clock_stepped_back(
    moment: Moment, milliseconds: int
) -> None:
    assert seconds_between(moment, later(moment, -milliseconds / 1000)) == 0
