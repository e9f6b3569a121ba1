"""What may be on the disk once the power is back.

The promise of a disk is small: what was synced is there. Of what came after the last sync of a
file each write may be there, be missing, or be there in some of its sectors, whatever the order it
came in. A new or deleted name counts only once its folder was synced.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.power.recording import (
    Cut,
    Event,
    FileNumber,
    FolderSynced,
    Marked,
    Named,
    Synced,
    Wrote,
)

#: The least that a disk writes as one.
SECTOR: Final = 512

#: Contents by name.
Left: TypeAlias = dict[str, bytes]
_Change: TypeAlias = Wrote | Cut


@dataclass
class Disk:
    """What was asked of a disk so far, and what it must have kept."""

    _synced: dict[FileNumber, bytes] = field(default_factory=dict)
    _unsynced: dict[FileNumber, list[_Change]] = field(default_factory=dict)
    _names: dict[str, FileNumber] = field(default_factory=dict)
    _new_names: list[Named] = field(default_factory=list)

    def take(self, event: Event) -> None:
        match event:
            case Wrote(file) | Cut(file):
                self._unsynced.setdefault(file, []).append(event)
            case Synced(file):
                self._synced[file] = self._with(file, lambda changes: changes)
                self._unsynced[file] = []
            case Named():
                self._new_names.append(event)
            case FolderSynced():
                self._names = self._named(self._new_names)
                self._new_names = []
            case Marked():
                pass

    def only_synced(self) -> Left:
        """The least: nothing came through that did not have to."""
        return {name: self._synced.get(file, b"") for name, file in self._names.items()}

    def everything(self) -> Left:
        """The most: as after kill -9."""
        return self._left(self._new_names, lambda changes: changes)

    def last_write_torn(self, dice: random.Random) -> Left:
        """All but a part of the newest write of each file."""
        return self._left(
            self._new_names, lambda changes: [*changes[:-1], *_torn(changes[-1:], dice)]
        )

    def up_to_somewhere(self, dice: random.Random) -> Left:
        """Each file as it was at some moment since it was synced."""
        return self._left(
            self._new_names[: dice.randint(0, len(self._new_names))],
            lambda changes: changes[: dice.randint(0, len(changes))],
        )

    def some_missing(self, dice: random.Random) -> Left:
        """The disk wrote in an order of its own."""
        share = dice.choice((0.1, 0.5, 0.9))

        def survivors(changes: list[_Change]) -> list[_Change]:
            kept = [change for change in changes if dice.random() < share]
            return [part for one in kept for part in _torn([one], dice, share)]

        names = [one for one in self._new_names if dice.random() < share]
        return self._left(names, survivors)

    def _left(
        self, new_names: Iterable[Named], survivors: Callable[[list[_Change]], list[_Change]]
    ) -> Left:
        return {name: self._with(file, survivors) for name, file in self._named(new_names).items()}

    def _named(self, new_names: Iterable[Named]) -> dict[str, FileNumber]:
        names = dict(self._names)
        for one in new_names:
            if one.file is None:
                names.pop(one.name, None)
            else:
                names[one.name] = one.file
        return names

    def _with(self, file: FileNumber, survivors: Callable[[list[_Change]], list[_Change]]) -> bytes:
        content = bytearray(self._synced.get(file, b""))
        for change in survivors(list(self._unsynced.get(file, []))):
            match change:
                case Wrote(_, offset, data):
                    content.extend(bytes(max(0, offset + len(data) - len(content))))
                    content[offset : offset + len(data)] = data
                case Cut(_, size):
                    content.extend(bytes(max(0, size - len(content))))
                    del content[size:]
        return bytes(content)


def _torn(changes: list[_Change], dice: random.Random, likely_whole: float = 0.0) -> list[_Change]:
    """The sectors of these writes that came through, or, now and then, came through as junk."""
    parts: list[_Change] = []
    for change in changes:
        if isinstance(change, Cut) or dice.random() < likely_whole:
            parts.append(change)
            continue
        for sector in _sectors(change):
            fate = dice.random()
            if fate < 0.1:
                parts.append(Wrote(sector.file, sector.offset, dice.randbytes(len(sector.data))))
            elif fate < 0.6:
                parts.append(sector)
    return parts


def _sectors(write: Wrote) -> Iterator[Wrote]:
    """A write, cut where the disk may cut it."""
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Wrote(write.file, start, write.data[start - write.offset : stop - write.offset])
        start = stop
