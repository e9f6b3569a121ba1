"""Reads the end of a log: the worker's own, which is JSON lines, or the app-server's."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from codex_control_plane_mcp.codex.launch import LOG_NAME
from codex_control_plane_mcp.desk.texts import start_of
from codex_control_plane_mcp.desk.views_diagnostics import LogLine, LogView
from codex_control_plane_mcp.redact import redact
from codex_control_plane_mcp.settings import Settings

Source: TypeAlias = Literal["worker", "app_server"]
Level: TypeAlias = Literal["INFO", "WARNING", "ERROR"]

#: Read from the end of a file at most: thousands of lines, in a few milliseconds.
TAIL_BYTES = 1_000_000
#: A traceback is mostly shorter.
MAX_LINE_CHARS = 1_500

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: What has a place of its own in a line, or tells a reader nothing.
_KNOWN = frozenset({"at", "level", "message", "callId", "operationId", "pid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines: the last ones that are all of this. `None` is no condition."""

    source: Source = "worker"
    operation_id: str | None = None
    call_id: str | None = None
    level: Level | None = None
    limit: int = 50


def read_log(settings: Settings, wanted: LogQuery) -> LogView:
    """The last lines of a log; none where there is no such file yet."""
    path = log_path(settings, wanted.source)
    text, complete = _tail(path)
    lines: list[LogLine] = []
    for raw in reversed(text.splitlines()):
        if len(lines) == wanted.limit:
            complete = False
            break
        line = _line(raw)
        if line is not None and _is_wanted(line, wanted):
            lines.append(line)
    return LogView(wanted.source, str(path), tuple(reversed(lines)), complete)


def log_path(settings: Settings, source: Source) -> Path:
    return settings.worker_log if source == "worker" else settings.app_server_folder / LOG_NAME


def _tail(path: Path) -> tuple[str, bool]:
    """The end of a log, with that of the file that it replaced while it is short itself."""
    newest, whole = _end_of(path, TAIL_BYTES)
    if not whole:
        return newest, False
    older, whole = _end_of(Path(f"{path}.1"), TAIL_BYTES - len(newest))
    return older + newest, whole


def _end_of(path: Path, most: int) -> tuple[str, bool]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            read = file.read(most)
    except OSError:
        return "", True
    if size > most:
        read = read.partition(b"\n")[2]  # The first line is a part of one.
    return read.decode(errors="replace"), size <= most


def _line(raw: str) -> LogLine | None:
    """A line as it may be shown: an app-server's log knows nothing of secrets."""
    if not raw.strip():
        return None
    try:
        read: object = json.loads(raw)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict) or "message" not in read:
        return LogLine(None, None, start_of(redact(raw), MAX_LINE_CHARS)[0])
    told = {key: value for key, value in read.items() if key not in _KNOWN}
    if isinstance(trace := told.get("exception"), str):
        told["exception"] = trace[-MAX_LINE_CHARS:]
    return LogLine(
        _text(read, "at"),
        _text(read, "level"),
        start_of(str(read["message"]), MAX_LINE_CHARS)[0],
        _text(read, "callId"),
        _text(read, "operationId"),
        told,
    )


def _text(read: Mapping[str, object], name: str) -> str | None:
    value = read.get(name)
    return value if isinstance(value, str) else None


def _is_wanted(line: LogLine, wanted: LogQuery) -> bool:
    return all(_conditions(line, wanted))


def _conditions(line: LogLine, wanted: LogQuery) -> Iterator[bool]:
    if wanted.operation_id is not None:
        named = line.operation_id, (line.told or {}).get("existingOperationId")
        yield wanted.operation_id in named or wanted.operation_id in line.message
    if wanted.call_id is not None:
        yield line.call_id == wanted.call_id
    if wanted.level is not None:
        yield line.level is not None and _rank(line.level) >= _rank(wanted.level)


def _rank(level: str) -> int:
    return _LEVELS.index(level) if level in _LEVELS else 0
