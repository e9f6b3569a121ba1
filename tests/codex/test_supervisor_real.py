"""Who starts and ends the app-server, with the real binary."""

import json
import os
import sys
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.codex.errors import AppServerUnavailable, ShuttingDown
from codex_control_plane_mcp.codex.launch import LOG_NAME, MAX_LOG_BYTES, OLD_LOG_NAME, shorten_log
from codex_control_plane_mcp.codex.record import FILE_NAME, read_record, write_record
from codex_control_plane_mcp.codex.supervisor import Supervisor, may_be_alive
from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.codex.words.answers import decide
from codex_control_plane_mcp.codex.words.events import ConnectionLost, TurnCompleted
from codex_control_plane_mcp.codex.words.questions import CommandApproval
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.processes import Identity, identity_of, is_alive
from codex_control_plane_mcp.rpc.stdio import running_child
from codex_control_plane_mcp.scripted_model.server import ScriptedModel
from tests.codex.actors import (
    PATIENCE_SECONDS,
    NewSupervisor,
    ask,
    install,
    new_thread,
    until,
    until_gone,
)

pytestmark = [pytest.mark.real]


async def test_a_second_connection_uses_the_same_process(new_supervisor: NewSupervisor) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with (
            new_supervisor().connect() as first,
            new_supervisor().connect() as second,
        ):
            assert first.app_server == second.app_server
            assert first.app_server.owned
            assert first.app_server.version
        async with new_supervisor().connect() as third:
            assert third.app_server.id == first.app_server.id


async def test_four_at_once_start_one(new_supervisor: NewSupervisor) -> None:
    seen: list[str] = []

    async def connect() -> None:
        async with new_supervisor().connect() as session:
            seen.append(session.app_server.id)

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(connect)

    assert len(seen) == 4
    assert len(set(seen)) == 1


async def test_four_processes_at_once_start_one(
    new_supervisor: NewSupervisor, codex_home: Path, state_folder: Path
) -> None:
    new_supervisor()
    code = f"""
import anyio
from pathlib import Path
from codex_control_plane_mcp.codex.supervisor import Supervisor
async def main():
    home, folder = Path({str(codex_home)!r}), Path({str(state_folder)!r})
    async with Supervisor(codex_home=home, folder=folder, mode="private").connect() as session:
        print(session.app_server.id)
anyio.run(main)
"""
    said: list[bytes] = []

    async def child() -> None:
        # What it complains about goes where the test's own output goes.
        said.append((await anyio.run_process([sys.executable, "-c", code], stderr=None)).stdout)

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(child)

    assert len(said) == 4
    assert len(set(said)) == 1
    assert said[0].strip()


async def test_the_record_is_private_and_says_which_process(
    new_supervisor: NewSupervisor, state_folder: Path, codex_home: Path
) -> None:
    supervisor = new_supervisor()
    assert supervisor.status().alive is None
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            process = session.app_server.process
            assert process is not None
            raw = json.loads((state_folder / FILE_NAME).read_text())
            status = supervisor.status()

    assert raw["pid"] == process.pid
    assert raw["codexHome"] == str(codex_home)
    assert raw["version"] == session.app_server.version
    assert (state_folder / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert (state_folder / LOG_NAME).stat().st_mode & 0o777 == 0o600
    assert state_folder.stat().st_mode & 0o777 == 0o700
    assert (status.alive, status.process, status.owned) == (True, process, True)
    # It has a session of its own, so it does not die with our terminal.
    assert os.getsid(process.pid) == process.pid


async def test_a_turn_goes_on_when_its_client_has_gone(
    new_supervisor: NewSupervisor, model: ScriptedModel, project: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor().connect() as session:
            thread_id = await new_thread(session, project)
            turn = await session.start_turn(ask(thread_id, "hold gate\nsay I went on"))
            await model.arrived("gate")
        async with new_supervisor().connect() as session:
            with session.inbox(thread_id) as inbox:
                resumed = await session.resume_thread(verbs.ResumeThread(thread_id))
                (found,) = (await session.list_turns(verbs.ListTurns(thread_id, limit=1))).data
                model.release("gate")
                completed = await until(inbox, TurnCompleted)

    assert resumed.thread.status.kind == "active"
    assert (found.id, found.status) == (turn.id, "inProgress")
    assert found.was_asked_with("mine")
    assert completed.turn.final_message is not None
    assert completed.turn.final_message.text == "I went on"


async def test_a_pending_approval_is_sent_again_to_a_new_connection(
    new_supervisor: NewSupervisor, project: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor().connect() as session:
            thread_id = await new_thread(session, project)
            with session.inbox(thread_id) as inbox:
                await session.start_turn(ask(thread_id, "run! printf hi > hi.txt\nsay done"))
                asked = await until(inbox, CommandApproval)
        async with new_supervisor().connect() as session:
            with session.inbox(thread_id) as inbox:
                await session.resume_thread(verbs.ResumeThread(thread_id))
                again = await until(inbox, CommandApproval)
                await session.answer(again.request_id, decide(again, "accept"))
                completed = await until(inbox, TurnCompleted)

    assert (again.request_id, again.command) == (asked.request_id, asked.command)
    assert completed.turn.status == "completed"
    assert (project / "hi.txt").read_text() == "hi"


async def test_draining_lets_the_turn_end_and_the_next_connection_starts_anew(
    new_supervisor: NewSupervisor, model: ScriptedModel, project: Path
) -> None:
    supervisor = new_supervisor()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            thread_id = await new_thread(session, project)
            with session.inbox(thread_id) as inbox:
                await session.start_turn(ask(thread_id, "hold gate\nsay done"))
                await model.arrived("gate")
                assert not await supervisor.drain(patience_seconds=0.1)
                with pytest.raises(ShuttingDown):
                    await new_thread(session, project)
                async with supervisor.connect() as other:
                    assert other.app_server.id != session.app_server.id
                    assert may_be_alive(session.app_server.id)
                    model.release("gate")
                    await until(inbox, ConnectionLost)
                    assert session.lost.is_set()
                    assert session.app_server.process is not None
                    await until_gone(session.app_server.process)
                    await other.resume_thread(verbs.ResumeThread(thread_id))
                    (turn,) = (await other.list_turns(verbs.ListTurns(thread_id))).data

    assert not may_be_alive(session.app_server.id)
    # Codex hangs up before it says `turn/completed`: the thread itself must be read.
    assert turn.status == "completed"


async def test_draining_when_nothing_runs_is_quick_and_leaves_no_process(
    new_supervisor: NewSupervisor, state_folder: Path
) -> None:
    supervisor = new_supervisor()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            pass
        assert await supervisor.drain()
        assert await supervisor.drain()

    assert session.app_server.process is not None
    assert not is_alive(session.app_server.process)
    assert read_record(state_folder) is None


async def test_a_record_that_names_a_strangers_pid_is_never_signalled(
    new_supervisor: NewSupervisor, state_folder: Path
) -> None:
    """F19: the pid was given to somebody else."""
    supervisor = new_supervisor()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            ours = session.app_server.process
            record = read_record(state_folder)
        assert ours is not None
        assert record is not None
        async with running_child([sys.executable, "-c", "input()"]) as stranger:
            stale = record.of(Identity(stranger.pid, ours.started_at))
            write_record(state_folder, stale)
            assert supervisor.status().alive is False
            assert await supervisor.drain()
            write_record(state_folder, stale)
            async with supervisor.connect() as another:
                assert another.app_server.process != ours

            assert identity_of(stranger.pid) is not None
            assert is_alive(ours)


async def test_an_app_server_that_died_is_replaced(
    new_supervisor: NewSupervisor,
) -> None:
    supervisor = new_supervisor()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as first:
            assert first.app_server.process is not None
            os.kill(first.app_server.process.pid, 9)
            await first.lost.wait()
            await until_gone(first.app_server.process)
            async with supervisor.connect() as second:
                assert second.app_server.id != first.app_server.id
                assert second.app_server.address != first.app_server.address


async def test_an_orphan_whose_starter_died_before_noting_the_pid_is_adopted(
    new_supervisor: NewSupervisor, state_folder: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor().connect() as session:
            record = read_record(state_folder)
            assert record is not None
            raw = json.loads((state_folder / FILE_NAME).read_text())
            (state_folder / FILE_NAME).write_text(json.dumps({**raw, "pid": None}))
        async with new_supervisor().connect() as again:
            assert again.app_server.id == session.app_server.id
        assert read_record(state_folder) == record


async def test_a_record_that_cannot_be_read_counts_as_none(
    new_supervisor: NewSupervisor, state_folder: Path
) -> None:
    state_folder.mkdir()
    for junk in ("", "17", "[" * 100_000, '{"pid": 1}', '{"pid": "x", "transport": []}'):
        (state_folder / FILE_NAME).write_text(junk)
        assert read_record(state_folder) is None
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor().connect() as session:
            assert session.app_server.owned


async def test_a_stopped_app_server_is_neither_killed_nor_doubled(
    new_supervisor: NewSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_control_plane_mcp.codex.supervisor.ANSWER_SECONDS", 0.3)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor().connect() as session:
            process = session.app_server.process
        assert process is not None
        os.kill(process.pid, 19)
        try:
            with pytest.raises(AppServerUnavailable, match="runs but does not answer"):
                async with new_supervisor().connect():
                    pass
            assert is_alive(process)
        finally:
            os.kill(process.pid, 18)


async def test_a_websocket_with_a_token_works_too(
    new_supervisor: NewSupervisor, state_folder: Path, project: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor(transport="ws").connect() as first:
            async with new_supervisor(transport="ws").connect() as second:
                assert first.app_server.id == second.app_server.id
            assert (first.app_server.address or "").startswith("ws://127.0.0.1:")
            thread_id = await new_thread(first, project)
            with first.inbox(thread_id) as inbox:
                await first.start_turn(ask(thread_id, "say hello"))
                assert (await until(inbox, TurnCompleted)).turn.status == "completed"
        (token_file,) = state_folder.glob("*.token")
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert await new_supervisor().drain()
        assert not token_file.exists()


async def test_a_child_on_stdio_works_and_leaves_with_us(
    new_supervisor: NewSupervisor, state_folder: Path, project: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_supervisor("stdio").connect() as session:
            process = session.app_server.process
            thread_id = await new_thread(session, project)
            with session.inbox(thread_id) as inbox:
                await session.start_turn(ask(thread_id, "say hello"))
                assert (await until(inbox, TurnCompleted)).turn.status == "completed"

    assert process is not None
    assert not is_alive(process)
    assert not (state_folder / FILE_NAME).exists()


async def test_shared_mode_never_starts_one_and_auto_falls_back_to_ours(
    new_supervisor: NewSupervisor, codex_home: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(AppServerUnavailable, match="daemon start"):
            async with new_supervisor("shared").connect():
                pass
        async with new_supervisor("auto").connect() as session:
            assert session.app_server.owned


async def test_auto_attaches_to_codexs_own_app_server_when_it_answers(
    new_supervisor: NewSupervisor, codex_home: Path, tmp_path: Path
) -> None:
    other = new_supervisor(folder=tmp_path / "other")
    with anyio.fail_after(PATIENCE_SECONDS):
        async with other.connect() as theirs:
            # What the daemon does: listen, and leave a symlink at a well-known place.
            (codex_home / "app-server-control").mkdir(exist_ok=True)
            well_known = codex_home / "app-server-control" / "app-server-control.sock"
            well_known.symlink_to(theirs.app_server.address or "")
            async with new_supervisor("auto").connect() as session:
                assert session.app_server.id == theirs.app_server.id
                assert not session.app_server.owned
            async with new_supervisor("shared").connect() as session:
                assert not session.app_server.owned
            assert await new_supervisor("auto").drain()
            assert theirs.app_server.process is not None
            assert is_alive(theirs.app_server.process)
        assert await other.drain()


async def test_a_binary_that_cannot_start_is_reported_with_its_words(
    state_folder: Path, codex_home: Path, tmp_path: Path
) -> None:
    install(tmp_path / "codex", "[ $2 != --listen ] || { echo 'out of order'; exit 3; }")
    supervisor = Supervisor(
        codex_home=codex_home, folder=state_folder, mode="private", binary=str(tmp_path / "codex")
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(AppServerUnavailable, match=r"ended at once .*out of order"):
            async with supervisor.connect():
                pass


async def test_a_binary_that_is_no_codex_is_reported_with_its_words(
    state_folder: Path, codex_home: Path, tmp_path: Path
) -> None:
    install(tmp_path / "codex", "echo 'not me'; exit 3")
    supervisor = Supervisor(
        codex_home=codex_home, folder=state_folder, mode="private", binary=str(tmp_path / "codex")
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(AppServerUnavailable, match=r"which protocol .*not me"):
            async with supervisor.connect():
                pass


async def test_a_folder_too_deep_for_a_socket_gets_a_short_one(
    new_supervisor: NewSupervisor, tmp_path: Path
) -> None:
    supervisor = new_supervisor(folder=tmp_path / ("deep" * 30))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            address = session.app_server.address or ""
        assert await supervisor.drain()

    assert len(address) <= 100
    assert Path(address).parent.stat().st_mode & 0o777 == 0o700


def test_a_flood_in_the_log_is_cut_and_its_end_is_kept(tmp_path: Path) -> None:
    with (tmp_path / LOG_NAME).open("ab") as writer:
        writer.write(b"x" * (MAX_LOG_BYTES + 1) + b"the end")
        writer.flush()
        shorten_log(tmp_path)
        writer.write(b"and on")
        writer.flush()

    assert (tmp_path / LOG_NAME).read_bytes() == b"and on"
    assert (tmp_path / OLD_LOG_NAME).read_bytes().endswith(b"xthe end")


def test_an_id_that_names_no_process_may_be_alive() -> None:
    mine = identity_of(os.getpid())
    assert mine is not None
    assert may_be_alive(AppServerId("unknown:1"))
    assert may_be_alive(AppServerId(f"{mine.pid}@{mine.started_at}"))
    assert not may_be_alive(AppServerId(f"{mine.pid}@boot:other:1"))
