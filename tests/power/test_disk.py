"""The two instruments: what a disk may have kept, and how a record is read."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.power.disk import SECTOR, Disk, Left
from tests.power.recording import (
    Cut,
    Event,
    FolderSynced,
    Marked,
    Named,
    Synced,
    Unreadable,
    Wrote,
    read_record,
)

THERE: Final[list[Event]] = [Named("book", 1), FolderSynced()]
WHOLE: Final = b"a" * SECTOR + b"b" * SECTOR


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def disk(*events: Event) -> Disk:
    asked = Disk()
    for event in events:
        asked.take(event)
    return asked


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        ([Named("book", 1), Wrote(1, 0, b"x"), Synced(1)], {}),
        ([*THERE, Wrote(1, 0, b"x")], {"book": b""}),
        ([*THERE, Wrote(1, 2, b"x"), Synced(1)], {"book": b"\0\0x"}),
        ([*THERE, Wrote(1, 0, b"xyz"), Cut(1, 1), Synced(1)], {"book": b"x"}),
        ([*THERE, Wrote(1, 0, b"x"), Synced(1), Wrote(1, 0, b"y")], {"book": b"x"}),
        ([*THERE, Named("book", None)], {"book": b""}),
        ([*THERE, Named("book", None), FolderSynced()], {}),
        (
            [*THERE, Wrote(1, 0, b"x"), Synced(1), Named("book", None), Named("book", 2)],
            {"book": b"x"},
        ),
    ],
    ids=[
        "a file whose name was not synced is not there",
        "a write that was not synced is not there",
        "a hole is full of zeros",
        "a file that was cut is shorter",
        "what was synced is not undone by what was not",
        "a deleted file is there until its folder is synced",
        "a deleted file is gone once its folder is synced",
        "until the folder is synced a name may stand for the former file",
    ],
)
def test_what_was_synced_is_the_least_that_is_left(events: Sequence[Event], kept: Left) -> None:
    assert disk(*events).only_synced() == kept


def test_a_torn_write_is_there_by_sectors() -> None:
    asked = disk(*THERE, Wrote(1, 0, WHOLE))
    left = {asked.last_write_torn(dice(seed)).get("book") for seed in range(100)}
    assert left >= {b"", WHOLE, WHOLE[:SECTOR], bytes(SECTOR) + WHOLE[SECTOR:]}


def test_of_writes_that_were_not_synced_any_may_be_missing() -> None:
    asked = disk(*THERE, Wrote(1, 0, b"a"), Wrote(1, 1, b"b"), Wrote(1, 2, b"c"))
    left = {asked.some_missing(dice(seed))["book"] for seed in range(300)}
    assert left >= {b"", b"abc", b"a", b"ab", b"\0b", b"\0\0c", b"a\0c"}


def test_what_was_synced_survives_every_fate() -> None:
    asked = disk(*THERE, Wrote(1, 0, b"kept"), Synced(1), Wrote(1, 4, WHOLE), Named("log", 2))
    for seed in range(50):
        for fate in (Disk.some_missing, Disk.last_write_torn, Disk.up_to_somewhere):
            assert fate(asked, dice(seed))["book"].startswith(b"kept")


# --- Reading --------------------------------------------------------------------------------------


def text(words: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in words.encode()) + '"'


def read(tmp_path: Path, *calls: str) -> list[Event]:
    record = tmp_path / "trace"
    record.write_text("".join(f"7 {call}\n" for call in calls))
    return list(read_record(record, Path("/state"), "book", "marks"))


OPENED = f"openat(AT_FDCWD, {text('/state/book')}, O_RDWR|O_CREAT, 0600) = 3"


def test_a_record_is_read_in_its_order(tmp_path: Path) -> None:
    assert read(
        tmp_path,
        f"openat(AT_FDCWD, {text('/state/marks')}, O_WRONLY|O_CREAT, 0600) = 9",
        f"openat(AT_FDCWD, {text('/elsewhere/book')}, O_RDWR) = 4",
        OPENED,
        f"openat(AT_FDCWD, {text('/state')}, O_RDONLY) = 5",
        f"pwrite64(4, {text('not ours')}, 8, 0) = 8",
        f"pwrite64(3, {text('abc')}, 3, 512) = 2",
        "fdatasync(3)                            = 0",
        "fsync(5) = 0",
        f"write(9, {text('committed' + chr(10))}, 10) = 10",
        "ftruncate(3, 7) = 0",
        "close(3) = 0",
        f"unlink({text('/state/book')}) = 0",
        OPENED,
    ) == [
        Named("book", 1),
        Wrote(1, 512, b"ab"),
        Synced(1),
        FolderSynced(),
        Marked("committed"),
        Cut(1, 7),
        Named("book", None),
        Named("book", 2),
    ]


def test_an_sqlite_that_seeks_and_writes_is_understood(tmp_path: Path) -> None:
    assert read(
        tmp_path,
        OPENED,
        "lseek(3, 100, SEEK_SET) = 100",
        f"write(3, {text('ab')}, 2) = 2",
        f"write(3, {text('c')}, 1) = 1",
    ) == [Named("book", 1), Wrote(1, 100, b"ab"), Wrote(1, 102, b"c")]


def test_a_call_that_failed_changed_nothing(tmp_path: Path) -> None:
    failed = f"pwrite64(3, {text('a')}, 1, 0) = -1 ENOSPC (No space left on device)"
    assert read(tmp_path, OPENED, failed) == [Named("book", 1)]


@pytest.mark.parametrize(
    "call",
    [
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000",
        f"writev(3, [{{iov_base={text('a')}, iov_len=1}}], 1) = 1",
        "copy_file_range(4, NULL, 3, NULL, 10, 0) = 10",
        "dup(3) = 4",
        f"rename({text('/state/book')}, {text('/state/other')}) = 0",
        f"pwrite64(3, {text('a')}..., 9, 0) = 9",
        "fdatasync(3 <unfinished ...>",
        f"pwrite64(3, {text('a')}, 1, 0 <unfinished ...>",
    ],
)
def test_a_call_that_is_not_understood_spoils_the_record(tmp_path: Path, call: str) -> None:
    with pytest.raises(Unreadable):
        read(tmp_path, OPENED, call)
