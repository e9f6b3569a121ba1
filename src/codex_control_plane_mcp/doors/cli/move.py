"""`move-to-postgres`: the book of one machine becomes that of a fleet."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from codex_control_plane_mcp import paths, settings
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.rendezvous import worker_lock_path
from codex_control_plane_mcp.store.book import opened
from codex_control_plane_mcp.store.move import copy


def run(state_db: str | None, *, as_json: bool) -> int:
    chosen = settings.load(os.environ)
    if state_db is not None:
        chosen = replace(chosen, state_db=Path(paths.canonical(state_db)))
    if chosen.database_url is None:
        raise InvalidArgument("say where to: set CODEX_MCP_DATABASE_URL to a new, empty database")
    if not chosen.state_db.is_file():
        raise InvalidArgument(f"there is no state at {chosen.state_db}; name one with --state-db")
    lock = FileLock(worker_lock_path(str(chosen.state_db)))
    if not lock.acquire(blocking=False):
        raise InvalidArgument(
            "a worker has this state: end it first, with its turns left running: "
            "codex-control-plane-mcp-admin stop --worker-only"
        )
    try:
        with (
            opened(chosen.state_db) as source,
            opened(chosen.book, host=HostId(chosen.host)) as target,
        ):
            copied = copy(source, target)
    finally:
        lock.release()
    if as_json:
        rows = {one.table: {"rows": one.rows, "sha256": one.digest} for one in copied}
        sys.stdout.write(json.dumps({"host": chosen.host, "tables": rows}) + "\n")
        return 0
    for one in copied:
        sys.stdout.write(f"{one.table:14} {one.rows:>9,} rows  {one.digest[:16]}\n")
    sys.stdout.write(
        f"Moved to {chosen.database_url} as host {chosen.host}: every row is there, and the same.\n"
        f"{chosen.state_db} is left as it is; keep it until you trust the new one.\n"
    )
    return 0
