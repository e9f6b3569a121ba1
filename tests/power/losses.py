"""Every power loss that a recorded life might have met, and a fair sample of them."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.power.contents import Contents
from tests.power.disk import Disk, Left
from tests.power.promises import Promised
from tests.power.recording import Event, Marked, Wrote

ONLY_SYNCED: Final = "only what was synced"
EVERYTHING: Final = "everything"
#: What the disk may have made of the same moment. Those with dice are thrown several times.
FATES: Final[dict[str, Callable[[Disk, random.Random], Left]]] = {
    ONLY_SYNCED: lambda disk, _: disk.only_synced(),
    EVERYTHING: lambda disk, _: disk.everything(),
    "the last writes torn": Disk.last_write_torn,
    "each file up to somewhere": Disk.up_to_somewhere,
    "each file up to somewhere else": Disk.up_to_somewhere,
    "some writes missing": Disk.some_missing,
    "other writes missing": Disk.some_missing,
    "yet others missing": Disk.some_missing,
}
#: Looked at wherever something was synced, named or said; the others are drawn.
_ALWAYS: Final = (ONLY_SYNCED, EVERYTHING)


@dataclass(frozen=True, slots=True)
class Loss:
    """One power loss: what is left, and what had been promised."""

    name: str
    left: Left
    promised: Promised


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which fates of which moments are looked at."""

    places: frozenset[tuple[int, str]]
    #: How many there are in all.
    possible: int


def draw(events: Sequence[Event], how_many: int, seed: int) -> Drawn:
    """Every moment between two events, with every fate: those that matter most, and of the others
    as many as are wanted."""
    every = [(number, fate) for number in range(len(events)) for fate in FATES]
    sure = {
        (number, fate)
        for number, fate in every
        if fate in _ALWAYS and not isinstance(events[number], Wrote)
    }
    others = [place for place in every if place not in sure]
    dice = random.Random(seed)  # noqa: S311  # a seed is the point
    chosen = dice.sample(others, min(len(others), max(0, how_many - len(sure))))
    return Drawn(frozenset(sure.union(chosen)), len(every))


def losses(
    events: Sequence[Event],
    snapshots: Sequence[Contents],
    drawn: Drawn,
    stale_index: tuple[str, bytes],
) -> Iterator[Loss]:
    """The power losses that were drawn, in order; those that leave the same are one."""
    disk, promised, seen = Disk(), Promised(snapshots), set[bytes]()
    for number, event in enumerate(events):
        disk.take(event)
        if isinstance(event, Marked):
            promised.take(event.text)
        for fate, leave in FATES.items():
            if (number, fate) not in drawn.places:
                continue
            # Seeded by the place: a state is the same whatever else is drawn.
            dice = random.Random(f"{number} {fate}")  # noqa: S311
            left = _with_some_index(leave(disk, dice), stale_index, dice)
            trace = _digest(left, promised)
            if trace not in seen:
                seen.add(trace)
                so_far = replace(promised, said=list(promised.said))
                yield Loss(f"after event {number} ({_what(event)}): {fate}", left, so_far)


def _with_some_index(left: Left, stale: tuple[str, bytes], dice: random.Random) -> Left:
    """The index of the log is written through memory and never synced: it may be gone, out of
    date, or junk."""
    name, content = stale
    rest = {one: content for one, content in left.items() if one != name}
    match dice.randrange(3):
        case 0:
            return rest
        case 1:
            return rest | {name: content}
        case _:
            return rest | {name: dice.randbytes(len(content))}


def _digest(left: Left, promised: Promised) -> bytes:
    """Of the index it does not matter what it held."""
    whole = hashlib.blake2b(f"{promised.commits} {len(promised.said)}".encode())
    for name, content in sorted(left.items()):
        if not name.endswith("-shm"):
            whole.update(f"{name} {len(content)} ".encode() + content)
    return whole.digest()


def _what(event: Event) -> str:
    return event.text if isinstance(event, Marked) else type(event).__name__.lower()
