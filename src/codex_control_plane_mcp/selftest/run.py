"""Runs cases in several processes, and sums up what came of them."""

import hashlib
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from codex_control_plane_mcp.selftest.history import Breach
from codex_control_plane_mcp.selftest.sweep import Case, FreshDatabase, Told, tell

#: A process of its own costs a second to begin with; fewer cases than this are not worth it.
WORTH_IT = 24

LOST = frozenset({"I2", "I5"})
DOUBLED = frozenset({"I1"})


@dataclass
class Tally:
    """What came of many histories."""

    histories: int = 0
    deaths: int = 0
    #: Each breach with the name of its case.
    breaches: list[tuple[str, Breach]] = field(default_factory=list)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, told: Told) -> None:
        self.histories += 1
        self.deaths += told.deaths
        self.breaches += [(told.case.name, breach) for breach in told.breaches]
        self._digest.update(f"{told.case.name}\n{told.points}\n{told.record}\n".encode())

    @property
    def digest(self) -> str:
        """The same for the same histories."""
        return self._digest.hexdigest()[:16]

    @property
    def lost(self) -> int:
        return sum(promise in LOST for promise in self._broken())

    @property
    def doubled(self) -> int:
        return sum(promise in DOUBLED for promise in self._broken())

    @property
    def wrong(self) -> int:
        return sum(promise not in LOST | DOUBLED for promise in self._broken())

    def _broken(self) -> Iterator[str]:
        """Each promise once for each history that broke it."""
        return (promise for _, promise in Counter((c, b.promise) for c, b in self.breaches))


def tell_all(
    cases: Iterable[Case], processes: int | None = None, database: FreshDatabase | None = None
) -> Iterator[Told]:
    """Tell them all, in order; side by side where that pays."""
    cases = list(cases)
    several = min(processes or os.cpu_count() or 1, len(cases) // WORTH_IT + 1)
    if several == 1:
        with silence():
            yield from (tell(case, database) for case in cases)
        return
    # Spawned, not forked: nothing of this process can leak into a history. An executor, for it says
    # so when one of its processes dies; a pool waits for ever.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(several, spawn, _be_silent) as executor:
        yield from executor.map(partial(tell, database=database), cases, chunksize=4)


class silence:  # noqa: N801  # read as a verb
    """The product's log would be as long as all the histories."""

    def __enter__(self) -> None:
        self._former = logging.root.manager.disable
        logging.disable(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._former)


def _be_silent() -> None:
    logging.disable(logging.CRITICAL)
