"""Keeps what Codex says of a turn while the book does not answer, in a file of this host.

Codex's own record gives back what the model said, its open questions and how a turn ended. What
commands ran, which files changed, how many tokens it took, and when, is said once. It is kept here
in order, and written into the journal when the book answers again, by this worker or the next one.

Written once: a file bears the number of the last journal line that its writer knew of. What stands
behind that line already is left out, and the file says so before the rest is written. Where the
operation has ended or is somebody else's by then, the fence refuses it, and the file is thrown
away.
"""

import json
import logging
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.journal import Category, Entry, Written
from codex_control_plane_mcp.model.operation import TokenUsage
from codex_control_plane_mcp.paths import make_private_folder, replace_file, sync_folder
from codex_control_plane_mcp.store import journal, operations
from codex_control_plane_mcp.work.case import Case

logger = logging.getLogger(__name__)

#: For each operation: hours of work. What the model said is in Codex's record all the same.
MAX_BYTES = 2_000_000
_FULL = "What Codex said from here on was not kept: the database was out of reach for too long."
_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a file holds."""

    #: The last line of the journal that its writer knew of.
    after_seq: int
    entries: tuple[Entry, ...] = ()
    token_usage: TokenUsage | None = None

    def as_lines(self) -> bytes:
        return _line({"afterSeq": self.after_seq}) + _told(self.entries, self.token_usage)


class Spool:
    """What is kept of one operation."""

    def __init__(self, folder: Path, case: Case) -> None:
        self._path = folder / f"{case.operation.id}{_SUFFIX}"
        self._case = case

    def keep(self, entries: Sequence[Entry], token_usage: TokenUsage | None) -> None:
        """Put it on the disk, behind what is kept already. An entry without a time is of now."""
        if not entries and token_usage is None:
            return
        now = self._case.book.now()
        timed = [
            replace(one, text=operations.clean(one.text), at=now if one.at is None else one.at)
            for one in entries
        ]
        try:
            self._append(timed, token_usage)
        except OSError as error:
            logger.warning("%s: what Codex says is not kept: %s", self._case.operation.id, error)

    async def drain(self) -> None:
        """Write into the book what is kept. Raises StateBusy, and Fenced."""
        try:
            kept = _read(self._path)
        except (OSError, ValueError, LookupError, TypeError) as error:
            logger.warning("%s: what is kept cannot be read: %r", self._case.operation.id, error)
            with suppress(OSError):
                self._path.unlink()
            return
        if kept is None:
            return
        operation = self._case.operation
        if not operation.is_final:
            kept = await self._without_what_is_written(kept)
            await self._case.record(entries=kept.entries, heard=True, token_usage=kept.token_usage)
        self._path.unlink(missing_ok=True)

    async def _without_what_is_written(self, kept: _Kept) -> _Kept:
        """The commit whose answer never came may have been carried out."""
        operation = self._case.operation
        if operation.last_seq == kept.after_seq:
            return kept
        written = await self._case.book.read(
            lambda reading: journal.after(reading, operation.id, kept.after_seq, len(kept.entries))
        )
        same = 0
        while same < len(written) and _is_same(written[same], kept.entries[same]):
            same += 1
        kept = replace(kept, after_seq=operation.last_seq, entries=kept.entries[same:])
        replace_file(str(self._path), kept.as_lines())
        sync_folder(str(self._path.parent))
        return kept

    def _append(self, entries: Sequence[Entry], token_usage: TokenUsage | None) -> None:
        make_private_folder(str(self._path.parent))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            size = file.tell()
            if not size:
                file.write(_line({"afterSeq": self._case.operation.last_seq}))
            told = _told(entries, token_usage)
            if size < MAX_BYTES < size + len(told):
                told = _told(
                    [Entry(Category.GAP, _FULL, at=entries[0].at)] if entries else [], None
                )
            elif size >= MAX_BYTES:
                told = _told((), token_usage)
            file.write(told)
            file.flush()
            os.fsync(file.fileno())
        if not size:
            sync_folder(str(self._path.parent))


def forget_others(folder: Path, kept: Collection[OperationId]) -> None:
    """Throw away what is kept of operations that are not (any more) this host's."""
    with suppress(OSError):
        for path in folder.glob(f"*{_SUFFIX}"):
            if path.stem not in kept:
                logger.info("what was kept of %s is of no use any more", path.stem)
                path.unlink(missing_ok=True)


def _read(path: Path) -> _Kept | None:
    """What a file holds; of one that was being written when its writer died, the whole lines."""
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    told = [json.loads(line) for line in lines]
    if not told:
        return _Kept(0)
    entries = tuple(
        Entry(Category(one["category"]), one["text"], one["itemId"], one["at"])
        for one in told
        if "category" in one
    )
    usages = [TokenUsage(**one["tokenUsage"]) for one in told if "tokenUsage" in one]
    return _Kept(told[0]["afterSeq"], entries, usages[-1] if usages else None)


def _told(entries: Sequence[Entry], token_usage: TokenUsage | None) -> bytes:
    lines: list[dict[str, object]] = [
        {"at": one.at, "category": one.category.value, "text": one.text, "itemId": one.item_id}
        for one in entries
    ]
    if token_usage is not None:
        lines.append({"tokenUsage": asdict(token_usage)})
    return b"".join(map(_line, lines))


def _line(told: dict[str, object]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _is_same(written: Written, entry: Entry) -> bool:
    return (written.category, written.text, written.item_id) == (
        entry.category,
        entry.text,
        entry.item_id,
    )
