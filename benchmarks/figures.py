"""What a benchmark hands back: a figure with its spread, what it stands beside, and its aim."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample, summed up. The median is the figure; the rest says how far to trust it."""

    median: float
    low: float
    p99: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    rank = max(0, math.ceil(0.99 * len(ordered)) - 1)
    return Spread(
        median=statistics.median(ordered),
        low=ordered[0],
        p99=ordered[rank],
        high=ordered[-1],
        count=len(ordered),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """At most `limit`; `words` is how the table says it, where that is more than the number."""

    limit: float
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    unit: str
    ours: Spread
    #: The same done without us, in the same run.
    beside: Spread | None = None
    beside_is: str = ""
    aim: Aim | None = None
    #: What is held against the aim, where that is not the median of `ours`.
    judged: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.aim is None:
            return None
        return (self.ours.median if self.judged is None else self.judged) <= self.aim.limit

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "is_met": self.is_met}


def ratio(figure: Figure) -> float | None:
    """Ours over what is beside it."""
    if figure.beside is None or not figure.beside.median:
        return None
    return figure.ours.median / figure.beside.median
