"""`admin backup`: a copy made while a worker works is a state to go on with."""

import json
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.cli.commands import ADMIN, Done, environment, run
from tests.e2e.stage import Stage, stage_of
from tests.store.actors import desk as desk_at


async def admin(stage: Stage, *arguments: str) -> Done:
    return await anyio.to_thread.run_sync(partial(run, ADMIN, *arguments, env=stage.environ))


@pytest.mark.real
@pytest.mark.anyio
async def test_a_state_that_was_lost_is_restored_from_its_copy() -> None:
    async with stage_of() as stage:
        copy = stage.root / "copy.sqlite3"
        async with stage.client() as client:
            done = await client.submit(
                "say The first.", cwd=str(stage.project), client_request_id="r-1"
            )
            assert (await client.finished(done["operationId"]))["finalReport"]
            made = await admin(stage, "backup", str(copy), "--json")
            assert made.returncode == 0, made.stderr
            told = json.loads(made.stdout)
            assert (told["path"], told["operations"], told["unfinishedOperations"]) == (
                str(copy),
                1,
                0,
            )
            await client.submit("say The second.", cwd=str(stage.project), client_request_id="r-2")

        stopped = await admin(stage, "stop", "--force")
        assert stopped.returncode == 0, stopped.stdout
        for lost in stage.state_db.parent.glob(f"{stage.state_db.name}*"):
            if lost.suffix in (".sqlite3", ".search") or lost.name.endswith(("-wal", "-shm")):
                lost.unlink()
        copy.rename(stage.state_db)

        async with stage.client() as client:
            again = await client.submit(
                "say The first.", cwd=str(stage.project), client_request_id="r-1"
            )
            assert (again["operationId"], again["idempotent"]) == (done["operationId"], True)
            assert again["finalReport"]["text"] == "The first."
            after = await client.submit(
                "say The second.", cwd=str(stage.project), client_request_id="r-2"
            )
            assert not after.get("idempotent")
            last = await client.finished(after["operationId"])
            assert last["finalReport"]["text"] == "The second."


def test_what_has_not_ended_is_said_for_a_worker_will_go_on_with_it(folder: Path) -> None:
    state = folder / "state" / "state.sqlite3"
    state.parent.mkdir()
    with desk_at(state) as desk:
        desk.submit()
    made = run(ADMIN, "backup", str(folder / "copy"), env=environment(folder))
    assert made.returncode == 0, made.stderr
    assert f"{folder / 'copy'}: 1 task, " in made.stdout
    assert "Not ended yet: 1. A worker that is started on this copy goes on" in made.stdout


def test_a_copy_that_cannot_be_made_is_told_from_a_wrong_call(folder: Path) -> None:
    env = environment(folder)
    target = folder / "copy"
    missing = run(ADMIN, "backup", str(target), env=env)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "there is no state at" in missing.stderr

    state = Path(env["CODEX_MCP_STATE_DB"])
    state.parent.mkdir()
    state.write_bytes(b"what is this " * 1000)
    damaged = run(ADMIN, "backup", str(target), "--json", env=env)
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert "no copy was made (file is not a database)" in damaged.stderr

    target.write_text("last week's")
    taken = run(ADMIN, "backup", str(target), env=env)
    assert (taken.returncode, taken.stdout) == (2, "")
    assert "name a new one" in taken.stderr
    assert target.read_text() == "last week's"
