"""Another Codex is installed while the former one runs, with the real binary."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from codex_control_plane_mcp.codex.errors import (
    AppServerUnavailable,
    ShuttingDown,
    ThreadElsewhere,
    UnfitCodex,
)
from codex_control_plane_mcp.codex.record import (
    FILE_NAME,
    read_record,
    retired_name,
    retired_records,
    write_record,
)
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.supervisor import Supervisor
from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.codex.words.answers import decide
from codex_control_plane_mcp.codex.words.events import TurnCompleted
from codex_control_plane_mcp.codex.words.questions import CommandApproval
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.processes import Identity, is_alive, terminate
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

NewWorker: TypeAlias = Callable[[], Supervisor]

#: A Codex whose `thread/start` has the sandbox under another name.
DOCTORED = """
if [ "$2" = generate-json-schema ]; then
  "$CODEX" "$@" && sed 's/"sandbox"/"sandboxMode"/g' "$5/ClientRequest.json" > "$5/new" &&
  mv "$5/new" "$5/ClientRequest.json"; exit
fi
"""


@pytest.fixture
def codex(tmp_path: Path) -> Path:
    return install(tmp_path / "codex", "# the former one")


@pytest.fixture
def new_worker(
    new_supervisor: NewSupervisor, codex: Path, codex_home: Path, state_folder: Path
) -> NewWorker:
    """Supervisors of one state, as the workers of that state have one after the other."""
    codex_cli_bin = pytest.importorskip("codex_cli_bin")
    environ = {**os.environ, "CODEX": str(codex_cli_bin.bundled_codex_path())}
    return lambda: Supervisor(
        codex_home=codex_home,
        folder=state_folder,
        mode="private",
        binary=str(codex),
        environ=environ,
    )


def process_of(session: CodexSession) -> Identity:
    assert session.app_server.process is not None
    return session.app_server.process


async def reaped(supervisor: Supervisor, *in_use: AppServerId) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while await supervisor.reap(in_use):  # noqa: ASYNC110 - nothing tells us when it ends
            await anyio.sleep(0.01)


async def test_new_work_goes_to_the_newer_codex_and_the_former_one_keeps_its_turn(
    new_worker: NewWorker, codex: Path, project: Path, state_folder: Path
) -> None:
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            thread_id = await new_thread(former, project)
            with former.inbox(thread_id) as inbox:
                await former.start_turn(ask(thread_id, "run! printf hi > hi.txt\nsay done"))
                asked = await until(inbox, CommandApproval)
                assert former.takes_new_work
                install(codex, "# the newer one")
                assert not former.takes_new_work
                async with supervisor.connect() as newer:
                    assert newer.takes_new_work
                    assert process_of(newer) != process_of(former)
                    assert supervisor.status().process == process_of(newer)
                    assert supervisor.status().retired == (process_of(former),)
                    other_id = await new_thread(newer, project)
                    with newer.inbox(other_id) as other:
                        await newer.start_turn(ask(other_id, "say hello"))
                        await until(other, TurnCompleted)
                    assert await supervisor.reap()  # It says itself that a turn runs.
                    await former.answer(asked.request_id, decide(asked, "accept"))
                    assert (await until(inbox, TurnCompleted)).turn.status == "completed"
                    assert await supervisor.reap({former.app_server.id})
                    assert is_alive(process_of(former))
                    await reaped(supervisor)
                    assert former.is_lost
                    assert not newer.is_lost

    assert (project / "hi.txt").read_text() == "hi"
    assert not is_alive(process_of(former))
    assert await supervisor.drain()
    left = sorted(path.name for path in state_folder.glob("*"))
    assert left == ["app-server.lock", "app-server.log", "codex-versions.json"]


async def test_a_thread_that_the_former_codex_has_loaded_is_not_for_another(
    new_worker: NewWorker, codex: Path, project: Path
) -> None:
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            thread_id = await new_thread(former, project)
            with former.inbox(thread_id) as inbox:
                await former.start_turn(ask(thread_id, "say hello"))
                await until(inbox, TurnCompleted)
            install(codex, "# the newer one")
            async with supervisor.connect() as newer:
                with pytest.raises(ThreadElsewhere):
                    await newer.resume_thread(verbs.ResumeThread(thread_id))
                # To look is allowed.
                assert (await newer.list_turns(verbs.ListTurns(thread_id))).data
                await reaped(supervisor)
                await newer.resume_thread(verbs.ResumeThread(thread_id))


async def test_the_next_worker_reaches_a_retired_app_server_by_its_id(
    new_worker: NewWorker, codex: Path, project: Path
) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with new_worker().connect() as former:
            thread_id = await new_thread(former, project)
            with former.inbox(thread_id) as inbox:
                await former.start_turn(ask(thread_id, "run! true\nsay done"))
                asked = await until(inbox, CommandApproval)
        install(codex, "# the newer one")
        async with new_worker().connect() as newer:
            pass
        next_worker = new_worker()
        async with next_worker.connect_to(former.app_server.id) as again:
            assert not again.takes_new_work
            with again.inbox(thread_id) as inbox:
                await again.resume_thread(verbs.ResumeThread(thread_id))
                asked_again = await until(inbox, CommandApproval)
                await again.answer(asked_again.request_id, decide(asked_again, "accept"))
                await until(inbox, TurnCompleted)
        async with next_worker.connect_to(newer.app_server.id) as current:
            assert current.takes_new_work
        await reaped(next_worker)
        with pytest.raises(AppServerUnavailable, match="not on record"):
            async with next_worker.connect_to(former.app_server.id):
                pass

    assert asked_again.request_id == asked.request_id
    assert is_alive(process_of(newer))


async def test_a_version_that_differs_in_what_we_send_is_never_started(
    new_worker: NewWorker, codex: Path
) -> None:
    install(codex, DOCTORED)
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(UnfitCodex) as caught:
            async with supervisor.connect():
                pass

    said = str(caught.value)
    assert said.startswith("Codex 0.")
    assert "thread/start: unknown field sandbox" in said
    assert "Upgrade codex-control-plane-mcp" in said
    assert "CODEX_BINARY_PATH" in said
    status = supervisor.status()
    assert (status.alive, status.passed_over) == (None, said)
    assert status.fit is not None
    assert status.fit.refused


async def test_while_the_newer_version_is_refused_the_former_one_has_the_new_work_too(
    new_worker: NewWorker, codex: Path
) -> None:
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            install(codex, DOCTORED)
            async with supervisor.connect() as again:
                assert again.app_server.id == former.app_server.id
            assert former.takes_new_work
            status = supervisor.status()
            async with new_worker().connect() as next_worker:
                assert next_worker.app_server.id == former.app_server.id
            install(codex, "# one that is right")
            async with supervisor.connect() as newer:
                assert newer.app_server.id != former.app_server.id

    assert status.passed_over is not None
    assert status.fit is not None
    assert not status.fit.refused
    assert supervisor.status().passed_over is None


async def test_a_binary_is_judged_once(new_worker: NewWorker, codex: Path, tmp_path: Path) -> None:
    install(codex, f"""[ "$2" != generate-json-schema ] || echo judged >> {tmp_path}/looks""")
    with anyio.fail_after(PATIENCE_SECONDS):
        for _ in range(2):
            async with new_worker().connect():
                pass
            await new_worker().drain()

    assert (tmp_path / "looks").read_text() == "judged\n"


async def test_a_newer_codex_that_does_not_come_up_changes_nothing(
    new_worker: NewWorker, codex: Path, state_folder: Path
) -> None:
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            install(codex, "[ $2 != --listen ] || { echo 'out of order'; exit 3; }")
            async with supervisor.connect() as again:
                assert again.app_server.id == former.app_server.id
            assert former.takes_new_work
            assert "out of order" in (supervisor.status().passed_over or "")
            assert retired_records(state_folder) == []


async def test_half_an_installation_changes_nothing(new_worker: NewWorker, codex: Path) -> None:
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            whole = codex.read_bytes()
            codex.write_bytes(whole[:1])
            async with supervisor.connect() as again:
                assert again.app_server.id == former.app_server.id
            codex.unlink()
            async with supervisor.connect() as again:
                assert again.app_server.id == former.app_server.id
            assert former.takes_new_work


async def test_when_somebody_else_drains_it_new_work_goes_to_a_fresh_one(
    new_worker: NewWorker, model: ScriptedModel, project: Path
) -> None:
    """F18."""
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            thread_id = await new_thread(former, project)
            await former.start_turn(ask(thread_id, "hold gate\nsay done"))
            await model.arrived("gate")
            terminate(process_of(former))
            while not former.is_draining:  # Until the signal has arrived.
                with suppress(ShuttingDown):
                    await new_thread(former, project)
            assert not former.takes_new_work
            async with supervisor.connect() as fresh:
                assert fresh.app_server.id != former.app_server.id
                assert is_alive(process_of(former))
                await new_thread(fresh, project)
                model.release("gate")
                await until_gone(process_of(former))
                await reaped(supervisor)


async def test_who_died_while_retiring_an_app_server_has_not_retired_it(
    new_worker: NewWorker, state_folder: Path
) -> None:
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            record = read_record(state_folder)
            assert record is not None
            write_record(state_folder, record, retired_name(process_of(session)))
            assert not await supervisor.reap()
            assert session.takes_new_work
            assert (state_folder / FILE_NAME).exists()


async def test_a_retired_record_that_names_a_strangers_pid_is_only_removed(
    new_worker: NewWorker, state_folder: Path
) -> None:
    """F19."""
    supervisor = new_worker()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            record = read_record(state_folder)
        assert record is not None
        stale = Identity(os.getpid(), process_of(session).started_at)
        write_record(state_folder, record.of(stale), retired_name(stale))

        assert not await supervisor.reap()


async def test_a_child_on_stdio_is_succeeded_too(
    codex: Path, codex_home: Path, state_folder: Path
) -> None:
    supervisor = Supervisor(
        codex_home=codex_home, folder=state_folder, mode="stdio", binary=str(codex)
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as former:
            install(codex, "# the newer one")
            assert not former.takes_new_work
            async with supervisor.connect() as newer:
                assert newer.takes_new_work
                assert newer.app_server.id != former.app_server.id
