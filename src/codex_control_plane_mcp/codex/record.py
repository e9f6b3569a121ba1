"""`app-server.json`: which app-server is ours, for whoever comes after us.

One that was succeeded and still has turns is in a file of its own, `app-server.retired-PID.json`.

Written before the process is started, without a pid, and again with it: whoever finds the first
form knows the address at which an orphan may listen. Private to this user; not durable on purpose,
since no process survives the reboot that would lose it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from codex_control_plane_mcp.codex.binary import Stamp
from codex_control_plane_mcp.paths import replace_file
from codex_control_plane_mcp.processes import Identity

FILE_NAME = "app-server.json"
_RETIRED = "app-server.retired-{}.json"


@dataclass(frozen=True, slots=True)
class Record:
    transport: Literal["unix", "ws"]
    #: Socket path, or URL; "" while the port is not known yet.
    address: str
    token_file: str | None
    binary: str
    codex_home: str
    process: Identity | None = None
    version: str | None = None
    #: What its binary's file looked like when it was started; `None`: nobody looked.
    stamp: Stamp | None = None
    #: It has been asked to end after its turns.
    is_ending: bool = False

    def of(self, process: Identity) -> "Record":
        return replace(self, process=process)


def retired_name(process: Identity) -> str:
    return _RETIRED.format(process.pid)


def retired_records(folder: Path) -> list[Record]:
    """Those that have a process; any other proves nothing."""
    found = (read_record(folder, path.name) for path in sorted(folder.glob(_RETIRED.format("*"))))
    return [record for record in found if record is not None and record.process is not None]


def read_record(folder: Path, name: str = FILE_NAME) -> Record | None:
    """The record, if there is one that can be read."""
    try:
        raw = json.loads((folder / name).read_text(encoding="utf-8"))
        return _from_json(raw)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # A file that cannot be read proves nothing about any process: as good as none.
        return None


def write_record(folder: Path, record: Record, name: str = FILE_NAME) -> None:
    """Replace the record in one step, whoever else does so at the same moment."""
    replace_file(str(folder / name), json.dumps(_to_json(record), indent=1).encode())


def forget_record(folder: Path, name: str = FILE_NAME) -> None:
    (folder / name).unlink(missing_ok=True)


def _to_json(record: Record) -> dict[str, object]:
    process = record.process
    return {
        "pid": process and process.pid,
        "startedAt": process and process.started_at,
        "transport": record.transport,
        "address": record.address,
        "tokenFile": record.token_file,
        "version": record.version,
        "binary": record.binary,
        "codexHome": record.codex_home,
        "binarySize": record.stamp and record.stamp.size,
        "binaryModifiedNs": record.stamp and record.stamp.modified_ns,
        "isEnding": record.is_ending,
    }


def _from_json(raw: dict[str, object]) -> Record:
    return Record(
        transport="ws" if raw["transport"] == "ws" else "unix",
        address=_text(raw["address"]),
        token_file=_maybe_text(raw["tokenFile"]),
        binary=_text(raw["binary"]),
        codex_home=_text(raw["codexHome"]),
        process=_process(raw["pid"], raw["startedAt"]),
        version=_maybe_text(raw["version"]),
        stamp=_stamp(raw["binary"], raw.get("binarySize"), raw.get("binaryModifiedNs")),
        is_ending=raw.get("isEnding") is True,
    )


def _process(pid: object, started_at: object) -> Identity | None:
    if isinstance(pid, int) and isinstance(started_at, str):
        return Identity(pid, started_at)
    return None


def _stamp(path: object, size: object, modified_ns: object) -> Stamp | None:
    if isinstance(path, str) and isinstance(size, int) and isinstance(modified_ns, int):
        return Stamp(path, size, modified_ns)
    return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _maybe_text(value: object) -> str | None:
    return None if value is None else _text(value)
