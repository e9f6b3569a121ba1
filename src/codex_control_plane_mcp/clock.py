"""Wall-clock moments: the one place that knows what time it is.

Timers, back-off and time-outs are not here: they use `anyio`, so that tests run them on virtual
time. This is only for moments that are stored or shown.
"""

import time
from datetime import UTC, datetime
from typing import NewType, Protocol

#: Milliseconds since 1970-01-01T00:00:00Z.
Moment = NewType("Moment", int)


class Clock(Protocol):
    """Says what time it is."""

    def now(self) -> Moment: ...


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> Moment:
        return Moment(time.time_ns() // 1_000_000)


def later(moment: Moment, seconds: float) -> Moment:
    """The moment `seconds` after `moment`."""
    return Moment(moment + round(seconds * 1000))


def seconds_between(earlier: Moment, later: Moment) -> float:
    """Seconds from `earlier` to `later`; never negative, for the wall clock may step back."""
    return max(0, later - earlier) / 1000


def isoformat(moment: Moment) -> str:
    """`moment` as RFC 3339 in UTC with milliseconds, e.g. `2026-01-31T12:00:00.250Z`."""
    text = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
