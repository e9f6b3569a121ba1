"""`backup`: a copy of the book of a state, which may be in use meanwhile."""

import json
import os
import sys
from pathlib import Path

from codex_control_plane_mcp import paths, settings
from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.store.backup import Copied, copy

EXIT_NO_COPY = 1


def run(state_db: str | None, to: str, *, as_json: bool) -> int:
    chosen = settings.load(os.environ)
    if state_db is None and chosen.database_url is not None:
        raise InvalidArgument("the state is on PostgreSQL: copy it with pg_dump")
    named = chosen.state_db if state_db is None else paths.canonical(state_db)
    state, target = Path(named), Path(paths.canonical(to))
    if not state.is_file():
        raise InvalidArgument(f"there is no state at {state}; name one with --state-db")
    try:
        copied = copy(state, target)
    except StateBusy as error:
        sys.stderr.write(f"codex-control-plane-mcp-admin: {error}\n")
        return EXIT_NO_COPY
    sys.stdout.write(
        json.dumps(_as_json(copied, state, target)) + "\n" if as_json else _in_words(copied, target)
    )
    return 0


def _in_words(copied: Copied, target: Path) -> str:
    noun = "task" if copied.operations == 1 else "tasks"
    said = f"{target}: {copied.operations:,} {noun}, {copied.bytes / 1e6:.1f} MB, checked.\n"
    if copied.unfinished:
        said += (
            f"Not ended yet: {copied.unfinished:,}. A worker that is started on this copy goes on"
            " with them.\n"
        )
    return said


def _as_json(copied: Copied, state: Path, target: Path) -> dict[str, object]:
    return {
        "stateDb": str(state),
        "path": str(target),
        "bytes": copied.bytes,
        "operations": copied.operations,
        "unfinishedOperations": copied.unfinished,
    }
