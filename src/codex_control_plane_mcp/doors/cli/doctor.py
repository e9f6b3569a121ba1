"""`doctor`: what is wrong here, and how to mend it.

Looks at this machine: Codex, its login, the folders, the disk, the state. What the worker knows is
asked of it, but only if it runs: nothing is started by being examined. What the rules of the
diagnosis find is told, too.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import anyio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codex_control_plane_mcp.codex.binary import find_binary, version
from codex_control_plane_mcp.codex.errors import BinaryNotFound
from codex_control_plane_mcp.desk.diagnosis.facts import Scope
from codex_control_plane_mcp.desk.diagnosis.rules import Category
from codex_control_plane_mcp.doors.cli.client import Told, ToolRefused, connected
from codex_control_plane_mcp.doors.cli.ending import worker_process, worker_runs
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.repair import as_typed
from codex_control_plane_mcp.doors.cli.room import book_of, chosen_settings, has_state, room_of
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import at_home, plain
from codex_control_plane_mcp.doors.presentable import presentable
from codex_control_plane_mcp.doors.shape import Json
from codex_control_plane_mcp.doors.shape import as_json as shaped
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.settings import Settings

LOGIN_SECONDS = 20.0
#: A book of 10,000 tasks is 100 MB, and SQLite writes a change twice.
LITTLE_BYTES = 500_000_000
TOO_LITTLE_BYTES = 50_000_000
_LOOKED_AT_HERE: Final = frozenset(
    {
        Category.STATE_UNWRITABLE,
        Category.DISK_FULL,
        Category.CODEX_MISSING,
        Category.PATH_MISSING,
        Category.NO_ROOTS,
    }
)


class Verdict(StrEnum):
    OK = "ok"
    #: It works, and somebody should know.
    ADVICE = "advice"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    #: How to mend it.
    advice: str | None = None


class Problem(Told):
    severity: str
    message: str


class Finding(Told):
    category: str
    confidence: str
    summary: str
    evidence: tuple[str, ...]
    next_step: str


class Advised(Told):
    action: str
    arguments: Mapping[str, str]
    why: str
    needs_force: bool


class Diagnosis(Told):
    """What the rules found, as far as it is repeated here."""

    findings: tuple[Finding, ...]
    recommended_repair_actions: tuple[Advised, ...]


class WorkersWord(Told):
    """What the worker says of itself, as far as it is repeated here."""

    overall_status: str
    problems: tuple[Problem, ...]


def run(state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        checks = [check async for check in _examined(chosen, os.environ)]
        health, analysis = await _known(chosen)
        if health is not None:
            checks += _told(WorkersWord.model_validate(health))
        if analysis is not None:
            checks += _found(Diagnosis.model_validate(analysis))
        broken = any(check.verdict is Verdict.BROKEN for check in checks)
        if as_json:
            told = [
                {
                    "name": check.name,
                    "verdict": check.verdict,
                    "found": check.found,
                    "advice": check.advice,
                }
                for check in checks
            ]
            overall = "broken" if broken else "healthy"
            print_json(
                presentable(
                    {
                        "ok": not broken,
                        "overallStatus": overall,
                        "checks": told,
                        "health": health,
                        "analysis": analysis,
                    }
                )
            )
        else:
            _show(checks, page_on(sys.stdout))
        return Exit.FAILED if broken else Exit.DONE

    return carried_out(work, as_json=as_json)


async def _examined(chosen: Settings, environ: Mapping[str, str]) -> AsyncIterator[Check]:
    try:
        binary = find_binary(str(chosen.codex_binary) if chosen.codex_binary else None, environ)
    except BinaryNotFound as error:
        yield Check("Codex", Verdict.BROKEN, str(error), "install Codex or set CODEX_BINARY_PATH")
    else:
        if (said := await version(binary)) is None:
            advice = "run it by hand with --version to see why; then install Codex anew"
            yield Check("Codex", Verdict.BROKEN, f"{binary} does not say its version", advice)
        else:
            yield Check("Codex", Verdict.OK, f"{said}, {at_home(str(binary))}")
            yield await _login(binary, chosen, environ)
    for check in (*_state(chosen), *_roots(chosen), _disk(chosen), _worker(chosen)):
        yield check


async def _login(binary: Path, chosen: Settings, environ: Mapping[str, str]) -> Check:
    """Codex's own word on it. Another model provider than OpenAI's may need none."""
    advice = "run `codex login`; another model provider than OpenAI's may need no login"
    try:
        with anyio.fail_after(LOGIN_SECONDS):
            done = await anyio.run_process(
                [str(binary), "login", "status"],
                check=False,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                env={**environ, "CODEX_HOME": str(chosen.codex_home)},
            )
    except (OSError, TimeoutError):
        return Check("login", Verdict.ADVICE, "Codex did not say whether it is logged in", advice)
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "nothing"
    if done.returncode == 0:
        return Check("login", Verdict.OK, said)
    return Check("login", Verdict.ADVICE, said, advice)


def _state(chosen: Settings) -> Iterator[Check]:
    folder = chosen.state_db.parent
    if not folder.is_dir():
        yield Check("state", Verdict.OK, f"{at_home(str(folder))} is made with the first task")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        found = f"{at_home(str(folder))} cannot be written"
        yield Check("state", Verdict.BROKEN, found, "mend its permissions, or CODEX_MCP_STATE_DB")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        found = f"{at_home(str(folder))} is open to other users ({mode:o})"
        yield Check("state folder", Verdict.ADVICE, found, f"chmod 700 {folder}")
    if not has_state(chosen):
        yield Check("state", Verdict.OK, f"{at_home(str(chosen.state_db))} is not made yet")
        return
    try:
        with book_of(chosen):
            yield Check("state", Verdict.OK, _book_found(chosen))
    except ControlPlaneError as error:
        advice = "put a copy of `backup` in its place, or name another CODEX_MCP_STATE_DB"
        yield Check("state", Verdict.BROKEN, error.message, advice)


def _book_found(chosen: Settings) -> str:
    if chosen.database_url is not None:
        return f"the fleet's, {chosen.database_url}"
    return f"{at_home(str(chosen.state_db))}, {chosen.state_db.stat().st_size / 1e6:.1f} MB"


def _roots(chosen: Settings) -> Iterator[Check]:
    if not chosen.roots:
        advice = "set CODEX_PROJECTS_ROOT, or CODEX_ALLOWED_ROOTS"
        yield Check(
            "allowed roots", Verdict.ADVICE, "no folder is allowed: no task can run", advice
        )
    for root in chosen.roots:
        if root.is_dir():
            yield Check("allowed root", Verdict.OK, at_home(str(root)))
        else:
            advice = "make it, or take it out of CODEX_PROJECTS_ROOT or CODEX_ALLOWED_ROOTS"
            yield Check("allowed root", Verdict.ADVICE, f"{root} is no folder", advice)


def _disk(chosen: Settings) -> Check:
    place = chosen.state_db.parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free at {at_home(str(place))}"
    if free < TOO_LITTLE_BYTES:
        return Check("disk", Verdict.BROKEN, found, "free some space: tasks cannot be stored")
    if free < LITTLE_BYTES:
        return Check("disk", Verdict.ADVICE, found, "free some space; `prune` removes old progress")
    return Check("disk", Verdict.OK, found)


def _worker(chosen: Settings) -> Check:
    if not worker_runs(chosen):
        return Check("worker", Verdict.OK, "does not run; the next client or task starts it")
    process = worker_process(chosen)
    if process is None:
        found = "something holds the lock of the state, and no worker says that it is it"
        return Check("worker", Verdict.ADVICE, found, "wait a moment; else see `logs`, then `stop`")
    return Check("worker", Verdict.OK, f"runs (pid {process.pid})")


async def _known(chosen: Settings) -> tuple[Json | None, Json | None]:
    """Health by the worker's word, and the diagnosis: also the worker's, who sees Codex, too;
    without one as far as the state, the log and the folders tell."""
    if worker_runs(chosen):
        async with connected(os.environ, chosen.state_db) as server:
            health = await server.call("codex_health_summary")
            try:
                return health, await server.call("codex_analyze_issue")
            except ToolRefused:  # its set of tools is off
                return health, None
    if has_state(chosen):
        with suppress(ControlPlaneError), room_of(chosen) as room:
            return None, presentable(shaped(await room.desk.analyze(Scope())))
    return None, None


def _told(word: WorkersWord) -> Iterator[Check]:
    """What is wrong by the worker's word; what it only advises was seen here."""
    for problem in word.problems:
        if problem.severity != "advice":
            yield Check("worker says", Verdict.BROKEN, problem.message)


def _found(diagnosis: Diagnosis) -> Iterator[Check]:
    """What the rules found beside what was looked at here, and what may mend it."""
    for one in diagnosis.findings:
        if one.category not in _LOOKED_AT_HERE:
            found = "\n".join((f"{one.summary} (confidence: {one.confidence})", *one.evidence))
            yield Check(one.category.replace("_", " "), Verdict.ADVICE, found, one.next_step)
    for repair in diagnosis.recommended_repair_actions:
        how = as_typed(repair.action, repair.arguments, force=repair.needs_force)
        yield Check("repair", Verdict.ADVICE, f"may help: {repair.why}", f"{how} says what it does")


def _show(checks: list[Check], console: Console) -> None:
    signs = {
        Verdict.OK: ("✓", "green"),
        Verdict.ADVICE: ("!", "yellow"),
        Verdict.BROKEN: ("✗", "bold red"),
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        sign, style = signs[check.verdict]
        said = Text(plain(check.found))
        if check.advice is not None:
            said.append(f"\n→ {plain(check.advice)}", style)
        table.add_row(Text(sign, style), check.name, said)
    console.print(table)
