"""`import-state`: bring the history of version 0.2.1 over, which is only read."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from codex_control_plane_mcp import paths, settings
from codex_control_plane_mcp.desk.former import Brought, bring
from codex_control_plane_mcp.store import former
from codex_control_plane_mcp.store.book import opened


def run(state_db: str | None, file: Path, *, with_unfinished: bool, as_json: bool) -> int:
    chosen = settings.load(os.environ)
    if state_db is not None:
        chosen = replace(chosen, state_db=Path(paths.canonical(state_db)))
    with former.opened(Path(paths.canonical(str(file)))) as found:
        paths.make_private_folder(str(chosen.state_db.parent))
        with opened(chosen.state_db) as book:
            done = bring(
                book,
                found,
                max_text_chars=chosen.hook_history_max_text_chars,
                with_unfinished=with_unfinished,
            )
    if as_json:
        sys.stdout.write(json.dumps(_as_json(chosen.state_db, done)) + "\n")
    else:
        lines = _lines(chosen.state_db, done, with_unfinished=with_unfinished)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _lines(state_db: Path, done: Brought, *, with_unfinished: bool) -> Iterator[str]:
    yield (
        f"{done.operations:,} tasks, {done.workflows:,} workflows and {done.sayings:,} messages"
        f" from hooks came to {state_db}; {done.present:,} tasks and workflows were there already."
    )
    if done.unfinished and with_unfinished:
        yield f"Not known how they ended: {', '.join(done.unfinished)}"
    elif done.unfinished:
        yield f"Left out, for they had not ended: {', '.join(done.unfinished)}"
        yield "  Let 0.2.1 end them and run this again, or run it with --with-unfinished."
    for one in done.left_out:
        yield f"Left out: {one}"


def _as_json(state_db: Path, done: Brought) -> dict[str, object]:
    return {
        "ok": True,
        "stateDb": str(state_db),
        "operations": done.operations,
        "workflows": done.workflows,
        "hookMessages": done.sayings,
        "alreadyThere": done.present,
        "unfinished": done.unfinished,
        "leftOut": done.left_out,
    }
