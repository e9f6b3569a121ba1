"""`repair`: mend what the doctor found. By default only say what that would change."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Thing
from codex_control_plane_mcp.doors.cli.client import Told, connected
from codex_control_plane_mcp.doors.cli.exits import Exit, of_repair
from codex_control_plane_mcp.doors.cli.room import Room, chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.speaking import PROGRAM, carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import one_line, plain
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.repair import Action

TOOL = "codex_repair_issue"


@dataclass(frozen=True, slots=True)
class Asked:
    action: Action
    #: Ids, as they were typed.
    scope: Sequence[str]
    applies: bool
    force: bool


class Change(Told):
    kind: str
    name: str
    change: str


class Repaired(Told):
    outcome: str
    changes: tuple[Change, ...]
    change_count: int
    result: str | None


def run(asked: Asked, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        scope: Mapping[str, str] = {}
        if asked.scope:
            with room_of(chosen) as room:
                scope = await _scope(room, asked.scope)
        async with connected(os.environ, chosen.state_db) as server:
            told = await server.call(
                TOOL, action=asked.action, dry_run=not asked.applies, force=asked.force, **scope
            )
        done = Repaired.model_validate(told)
        if as_json:
            print_json(told)
        else:
            _show(asked, scope, done, page_on(sys.stdout))
        return of_repair(done.outcome)

    return carried_out(work, as_json=as_json)


def as_typed(action: str, scope: Mapping[str, str], *, force: bool, applies: bool = False) -> str:
    """The command that has it done, or planned."""
    words = [PROGRAM, "repair", action]
    words += [word for id_ in scope.values() for word in ("--scope", id_)]
    words += [*(["--force"] if force else []), *(["--apply"] if applies else [])]
    return " ".join(words)


async def _scope(room: Room, typed: Sequence[str]) -> dict[str, str]:
    """By the names of the tool's arguments. Raises InvalidArgument, NotFound."""
    scope: dict[str, str] = {}
    for id_ in typed:
        name, whole = "thread_id", id_
        if id_.startswith(("op_", "wf_")):
            found = await room.find(id_, Thing.OPERATION, Thing.WORKFLOW)
            name = "operation_id" if found.thing is Thing.OPERATION else "workflow_id"
            whole = found.id
        if name in scope:
            raise InvalidArgument(f"--scope names two of a kind: {scope[name]} and {whole}")
        scope[name] = whole
    return scope


def _show(asked: Asked, scope: Mapping[str, str], done: Repaired, console: Console) -> None:
    style = "red" if done.outcome in ("refused", "failed", "unknown") else "bold"
    console.print(Text.assemble((done.outcome.replace("_", " "), style), f"  {asked.action}"))
    for one in done.changes:
        console.print(Text(f"  {one.kind} {one_line(one.name)}: {one_line(one.change)}"))
    if done.change_count > len(done.changes):
        console.print(f"  and {done.change_count - len(done.changes)} more")
    if done.result:
        console.print(Text(plain(done.result)))
    if done.outcome == "planned":
        how = as_typed(asked.action, scope, force=asked.force, applies=True)
        console.print(Text(f"Nothing is changed yet. To do it: {plain(how)}"))
