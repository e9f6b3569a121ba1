"""`prune`: take old entries out of the journal of a state, which may be in use meanwhile; out of
the search, too."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.clock import Moment, SystemClock, later
from codex_control_plane_mcp.doors.cli.room import book_of, chosen_settings
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.store import search
from codex_control_plane_mcp.store.retention import Pruned, prune

_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_BYTES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person wants to keep."""

    older_than: str | None
    keep_size: str | None
    dry_run: bool


def run(state_db: str | None, asked: Asked, *, as_json: bool) -> int:
    if asked.older_than is None and asked.keep_size is None:
        raise InvalidArgument("say what to keep: --older-than 30d, --keep-size 200M, or both")
    age = None if asked.older_than is None else _age(asked.older_than)
    keep_bytes = None if asked.keep_size is None else _size(asked.keep_size)
    chosen = chosen_settings(state_db)
    older_than = None if age is None else later(SystemClock().now(), -age)
    with book_of(chosen) as book:
        done = prune(book, older_than=older_than, keep_bytes=keep_bytes, dry_run=asked.dry_run)
    if not asked.dry_run and chosen.search_index.is_file():
        _forget(chosen.search_index, done, older_than)
    sys.stdout.write(
        json.dumps(_as_json(done, asked)) + "\n" if as_json else _in_words(done, asked)
    )
    return 0


def _forget(search_index: Path, done: Pruned, older_than: Moment | None) -> None:
    """Have what was taken out be found no more."""
    try:
        with search.opened(search_index) as connection, search.writing(connection):
            for one in done.old:
                search.forget_before(connection, one.operation_id, one.last_at)
            if older_than is not None:
                search.forget_hooks_before(connection, older_than)
    except search.Damaged:
        search.remove(search_index)  # whoever searches next makes it anew


def _age(stated: str) -> int:
    """Seconds."""
    found = re.fullmatch(r"(\d{1,5})([hdw])", stated.lower())
    if found is None:
        raise InvalidArgument("--older-than takes hours, days or weeks: 12h, 30d, 8w")
    return int(found[1]) * _SECONDS[found[2]]


def _size(stated: str) -> int:
    found = re.fullmatch(r"(\d{1,12})([kmg]?)b?", stated.lower())
    if found is None:
        raise InvalidArgument("--keep-size takes bytes, or k, M, G: 500k, 200M, 1G")
    return int(found[1]) * _BYTES[found[2]]


def _in_words(done: Pruned, asked: Asked) -> str:
    verb, left = ("Would remove", "would be") if asked.dry_run else ("Removed", "are")
    return (
        f"{verb} {done.entries:,} journal entries of {done.operations:,} ended tasks,"
        f" about {_human(done.bytes)}; {_human(done.bytes_left)} {left} left."
        f" Of what hooks told: {done.hook_events:,}.\n"
        "Tasks, reports and their ids are kept. The file does not shrink: the room is used again.\n"
    )


def _human(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _as_json(done: Pruned, asked: Asked) -> dict[str, object]:
    return {
        "dryRun": asked.dry_run,
        "operations": done.operations,
        "entries": done.entries,
        "hookEvents": done.hook_events,
        "bytes": done.bytes,
        "bytesLeft": done.bytes_left,
    }
