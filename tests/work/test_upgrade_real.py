"""Another Codex is installed in the middle of a turn: the whole house, with the real binary."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.app.house import see_off
from codex_control_plane_mcp.clock import SystemClock
from codex_control_plane_mcp.codex.supervisor import Supervisor, may_be_alive
from codex_control_plane_mcp.model.ids import ProjectId, new_operation_id
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.request import DedupPolicy, SteerTurn, Submission
from codex_control_plane_mcp.processes import Identity, is_alive
from codex_control_plane_mcp.scripted_model.home import write_codex_home
from codex_control_plane_mcp.scripted_model.server import ScriptedModel, serving
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.book import opened
from tests.codex.actors import end_app_servers_of, install, until_gone
from tests.work.house import House, Task, Worker

pytestmark = [pytest.mark.real]

PATIENCE_SECONDS = 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Stage:
    house: House
    model: ScriptedModel
    codex: Path
    codex_home: Path
    state: Path
    second_task: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def hire(self) -> Worker:
        """A worker process: its own supervisor, which knows nothing but the records."""
        supervisor = self.supervisor()
        self.house.connect = supervisor.connect
        worker = await self.house.hire()
        worker.workshop.line.connect_to = supervisor.connect_to

        async def see_off_the_former() -> None:
            with self.second_task:
                await see_off(self.house.book, worker.workshop, supervisor)

        self.second_task = anyio.CancelScope()
        self.house.tasks.start_soon(see_off_the_former)
        return worker

    def kill(self, worker: Worker) -> None:
        self.second_task.cancel()
        worker.kill()

    def supervisor(self) -> Supervisor:
        return Supervisor(
            codex_home=self.codex_home, folder=self.state, mode="private", binary=str(self.codex)
        )


@asynccontextmanager
async def on_stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with serving() as model:
        home = write_codex_home(tmp_path / "home", model.base_url)
        project = tmp_path / "project"
        project.mkdir()
        codex = install(tmp_path / "codex", "# the former one")
        with opened(tmp_path / "state.sqlite3", clock=SystemClock()) as book:
            async with anyio.create_task_group() as tasks:
                house = House(
                    book,
                    lambda: pytest.fail("nobody was hired"),
                    lambda id_: not may_be_alive(id_),
                    tasks,
                    cwd=str(project),
                    patience_seconds=PATIENCE_SECONDS,
                )
                try:
                    yield Stage(house, model, codex, home, tmp_path / "state")
                finally:
                    tasks.cancel_scope.cancel()
        await end_app_servers_of(home)


def owner_of(operation: Operation) -> Identity:
    pid, _, started_at = str(operation.app_server_id).partition("@")
    return Identity(int(pid), started_at)


async def ends_well(task: Task, report: str) -> Operation:
    ended = await task.ends()
    assert ended.status is Status.COMPLETED, ended
    assert ended.report is not None
    assert ended.report.text == report
    return ended


async def test_an_upgrade_in_the_middle_of_a_turn(tmp_path: Path) -> None:
    async with on_stage(tmp_path) as stage:
        house = stage.house
        await stage.hire()
        old = await house.submit("run! printf hi > hi.txt\nsay old", project="old")
        question = await old.asked()
        install(stage.codex, "# the newer one")
        new = await ends_well(await house.submit("say new", project="new"), "new")
        assert is_alive(owner_of(await old.now()))
        await old.answer(question, decision="accept")
        ended = await ends_well(old, "old")
        await until_gone(owner_of(ended))

        assert owner_of(new) != owner_of(ended)
        assert is_alive(owner_of(new))
        assert (Path(house.cwd) / "hi.txt").read_text() == "hi"
        assert stage.supervisor().status().process == owner_of(new)


async def test_an_upgrade_and_the_death_of_the_worker(tmp_path: Path) -> None:
    async with on_stage(tmp_path) as stage:
        house = stage.house
        first = await stage.hire()
        old = await house.submit("run! printf hi > hi.txt\nsay old", project="old")
        await old.asked()
        install(stage.codex, "# the newer one")
        held = await house.submit("hold gate\nsay new", project="new")
        await stage.model.arrived("gate")
        await held.becomes(Status.RUNNING)
        stage.kill(first)
        await stage.hire()
        await old.answer(await old.asked(), decision="accept")
        ended = await ends_well(old, "old")
        stage.model.release("gate")
        new = await ends_well(held, "new")
        await until_gone(owner_of(ended))

        assert owner_of(new) != owner_of(ended)
        assert is_alive(owner_of(new))
        assert (ended.generation, new.generation) == (2, 2)


async def test_words_for_a_turn_of_the_former_codex_reach_it(tmp_path: Path) -> None:
    """The newer one would say that there is nothing to steer."""
    async with on_stage(tmp_path) as stage:
        house = stage.house
        await stage.hire()
        old = await house.submit("hold gate\nrun true\nsay old", project="old")
        await stage.model.arrived("gate")
        running = await old.becomes(Status.RUNNING)
        install(stage.codex, "# the newer one")
        await ends_well(await house.submit("say new", project="new"), "new")
        assert running.thread_id is not None
        assert running.turn_id is not None
        request = SteerTurn(
            "Be quick.", running.thread_id, running.turn_id, house.cwd, ProjectId("old")
        )
        submission = Submission(request, dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY)
        operation = await house.book.write(
            lambda writing: operations.insert_operation(
                writing, new_operation_id(writing.now), submission
            )
        )
        steered = await Task(operation.id, house).ends()
        stage.model.release("gate")
        ended = await old.ends()

        assert steered.status is Status.COMPLETED
        assert steered.app_server_id == ended.app_server_id
        await until_gone(owner_of(ended))


async def test_a_message_to_a_thread_of_the_former_codex_is_for_the_newer_one(
    tmp_path: Path,
) -> None:
    async with on_stage(tmp_path) as stage:
        house = stage.house
        await stage.hire()
        first = await ends_well(await house.submit("say one"), "one")
        install(stage.codex, "# the newer one")
        second = await ends_well(
            await house.submit("say two", thread_id=str(first.thread_id)), "two"
        )
        await until_gone(owner_of(first))

        assert second.thread_id == first.thread_id
        assert owner_of(second) != owner_of(first)


async def test_a_thread_stays_with_the_former_codex_while_that_has_other_turns(
    tmp_path: Path,
) -> None:
    """Nobody else may write to it, and the other turns may take hours."""
    async with on_stage(tmp_path) as stage:
        house = stage.house
        await stage.hire()
        long = await house.submit("hold gate\nsay long", project="long")
        await stage.model.arrived("gate")
        first = await ends_well(await house.submit("say one", project="short"), "one")
        install(stage.codex, "# the newer one")
        second = await house.submit("say two", thread_id=str(first.thread_id), project="short")
        ended = await ends_well(second, "two")
        stage.model.release("gate")
        await ends_well(long, "long")
        await until_gone(owner_of(first))

        assert owner_of(ended) == owner_of(first)


async def test_a_refused_upgrade_is_not_noticed_by_any_task(tmp_path: Path) -> None:
    async with on_stage(tmp_path) as stage:
        house = stage.house
        await stage.hire()
        first = await ends_well(await house.submit("say one"), "one")
        install(
            stage.codex,
            '[ "$2" != generate-json-schema ] || { cd "$5"; echo {} > ClientRequest.json; exit; }',
        )
        second = await ends_well(await house.submit("say two"), "two")

        assert owner_of(second) == owner_of(first)
        assert "its schema cannot be read here" in (stage.supervisor().status().passed_over or "")
        assert sorted(path.name for path in stage.state.glob("app-server*.json")) == [
            "app-server.json"
        ]
