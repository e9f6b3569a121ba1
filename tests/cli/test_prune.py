"""`admin prune`: what it removes, what it leaves, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.store import search
from codex_control_plane_mcp.store.book import opened
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind, keep
from codex_control_plane_mcp.store.search import Origin, Said, TextKind
from tests.cli.commands import ADMIN, environment, run
from tests.store.actors import desk as desk_at
from tests.store.test_retention import ended

OLD = Moment(1_600_000_000_000)
THREAD = ThreadId("t")


@pytest.fixture
def state(folder: Path) -> Path:
    """A state with one task, which ended long before now."""
    path = folder / "state" / "state.sqlite3"
    path.parent.mkdir()
    with desk_at(path) as desk:
        desk.clock.moment = OLD
        ended(desk)
    return path


def entries(state: Path) -> int:
    with opened(state) as book:
        return book.read_now(
            lambda reading: int(
                reading.exec_driver_sql("SELECT count(*) FROM journal").scalar_one()
            )
        )


def test_old_entries_are_removed_once_it_is_meant(state: Path, folder: Path) -> None:
    env = environment(folder)
    before = entries(state)
    would = run(ADMIN, "prune", "--older-than", "30d", "--dry-run", env=env)
    assert would.returncode == 0, would.stderr
    assert would.stdout.startswith(f"Would remove {before} journal entries of 1 ended tasks")
    assert entries(state) == before

    done = run(ADMIN, "prune", "--older-than", "30d", "--json", env=env)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["dryRun"], told["operations"], told["entries"]) == (False, 1, before)
    assert entries(state) == 1


def test_what_was_removed_is_found_no_more(folder: Path) -> None:
    state = folder / "state" / "state.sqlite3"
    state.parent.mkdir()
    said = [
        Said(TextKind.PROMPT, OLD, "prompt"),
        Said(TextKind.ANSWER, OLD, "answer", "i-1"),
        Said(TextKind.PLAN, OLD, "draft", "i-2"),
        Said(TextKind.PLAN, OLD, "plan", "i-3"),
        Said(TextKind.REPORT, OLD, "report"),
    ]
    theirs = HookEvent("e-1", HookKind.PROMPT, OLD, THREAD, TurnId("u"), "/x", None, "theirs")
    with desk_at(state) as desk:
        desk.clock.moment = OLD
        operation = ended(desk)
        desk.write(lambda writing: keep(writing, theirs, 100))
        desk.write(lambda writing: keep(writing, replace(theirs, event_id="e-2"), 100))
    index = state.with_name(f"{state.name}.search")
    with search.opened(index) as opened_index:
        origin = Origin(ProjectId("p"), THREAD, TurnId("u"))
        search.add(opened_index, replace(origin, operation_id=operation.id), said)
        search.add(opened_index, origin, [Said(TextKind.PROMPT, OLD, "theirs")])

    done = run(ADMIN, "prune", "--older-than", "30d", env=environment(folder))

    assert "Of what hooks told: 1." in done.stdout
    with search.opened(index) as opened_index:
        left = {text for (text,) in opened_index.execute("SELECT text FROM texts")}
    assert left == {"prompt", "plan", "report"}


def test_an_index_that_is_damaged_is_in_nobodys_way(state: Path, folder: Path) -> None:
    index = state.with_name(f"{state.name}.search")
    index.write_bytes(b"no index " * 1000)
    done = run(ADMIN, "prune", "--older-than", "30d", env=environment(folder))
    assert done.returncode == 0, done.stderr
    assert not index.exists()


def test_a_journal_that_is_small_enough_is_left_alone(state: Path, folder: Path) -> None:
    done = run(ADMIN, "prune", "--keep-size", "1G", "--json", env=environment(folder))
    assert json.loads(done.stdout)["entries"] == 0
    done = run(
        ADMIN, "prune", "--keep-size", "0", "--state-db", str(state), env=environment(folder / "x")
    )
    assert done.returncode == 0
    assert entries(state) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--older-than 30d"),
        (["--older-than", "soon"], "--older-than takes"),
        (["--keep-size", "-1"], "--keep-size takes"),
        (["--older-than", "30d", "--state-db", "/nowhere/x"], "there is no state at /nowhere/x"),
    ],
)
def test_what_cannot_be_meant_is_named(arguments: list[str], said: str, folder: Path) -> None:
    done = run(ADMIN, "prune", *arguments, env=environment(folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (folder / "state").exists()
