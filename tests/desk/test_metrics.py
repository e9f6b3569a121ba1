"""What is counted, and how Prometheus reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.metrics import Metrics
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.doors.prometheus import exposition
from codex_control_plane_mcp.model.ids import TurnId
from codex_control_plane_mcp.model.operation import (
    FINAL,
    Cancelled,
    Completed,
    Fact,
    Failed,
    Interrupted,
    Report,
    Status,
    Trouble,
)
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store import workers
from tests.desk.reception import Reception, reception

pytestmark = pytest.mark.anyio

#: A sample as the format has it: name, labels, number.
SAMPLE = re.compile(r'([a-z_]+)(?:\{status="([a-z_]+)"\})? ([0-9.]+)')


def samples(text: str) -> dict[tuple[str, str], float]:
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    read = [SAMPLE.fullmatch(line) for line in lines]
    assert None not in read, text
    return {(one[1], one[2] or ""): float(one[3]) for one in read if one}


async def submitted(at: Reception, message: str) -> str:
    task = Task(operation_type=OperationType.START_CHAT, message=message, cwd=str(at.project))
    return (await at.desk.submit(task)).operation_id


async def works(at: Reception, name: str) -> None:
    """A worker takes over."""
    await at.book.write(lambda writing: workers.enter(writing, name, os.getpid(), "test"))


async def test_everything_is_counted_at_one_moment(at: Reception) -> None:
    await works(at, "worker")
    ends: tuple[Fact, ...] = (
        Completed(Report("Done.", TurnId("u-0"))),
        Failed(Trouble("usageLimitExceeded", "No more.")),
        Interrupted(),
    )
    for number, end in enumerate(ends):
        ended = await submitted(at, f"end {number}")
        await at.workshop.start(ended, f"t-{number}", f"u-{number}")
        await at.workshop.record(ended, end)
    asking = await submitted(at, "ask")
    await at.workshop.start(asking, "t-9", "u-9")
    await at.workshop.ask(asking, {"command": "make", "cwd": "/"})
    at.clock.at += 2_000
    await submitted(at, "wait")
    at.clock.at += 5_500
    await submitted(at, "wait longer")

    found = await at.desk.metrics()
    assert {status: n for status, n in found.operations.items() if n} == {
        Status.QUEUED: 2,
        Status.WAITING_FOR_APPROVAL: 1,
        Status.COMPLETED: 1,
        Status.FAILED: 1,
        Status.INTERRUPTED: 1,
    }
    assert (found.queue_depth, found.oldest_queued_seconds) == (2, 5.5)
    assert found.active_turns == 1
    assert (found.pending_interactions, found.oldest_pending_interaction_seconds) == (1, 7.5)
    assert found.turns_ended == {
        Status.COMPLETED: 1,
        Status.FAILED: 1,
        Status.INTERRUPTED: 1,
        Status.CANCELLED: 0,
        Status.UNKNOWN: 0,
    }
    assert found.worker_present


async def test_turns_are_counted_anew_by_each_worker_and_operations_are_not(at: Reception) -> None:
    await works(at, "first")
    ended = await submitted(at, "end")
    await at.workshop.start(ended)
    await at.workshop.record(ended, Completed(Report("Done.", TurnId("u-1"))))
    # It never had a turn.
    unwanted = await submitted(at, "not at all")
    await at.workshop.record(unwanted, Cancelled())
    before = await at.desk.metrics()
    assert before.turns_ended[Status.COMPLETED] == 1
    assert before.turns_ended[Status.CANCELLED] == 0
    at.clock.at += 1
    await works(at, "second")
    after = await at.desk.metrics()
    assert after.turns_ended[Status.COMPLETED] == 0
    assert after.operations == before.operations
    assert after.operations[Status.CANCELLED] == 1


class TestOnPostgres:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_the_same_is_counted(self, tmp_path: Path, postgres_url: str) -> None:
        with reception(tmp_path, postgres_url=postgres_url, threads=True) as at:
            await works(at, "worker")
            ended = await submitted(at, "end")
            await at.workshop.start(ended)
            await at.workshop.record(ended, Completed(Report("Done.", TurnId("u-1"))))
            asking = await submitted(at, "ask")
            await at.workshop.start(asking, "t-2", "u-2")
            await at.workshop.ask(asking, {"command": "make", "cwd": "/"})
            at.clock.at += 1_500
            found = await at.desk.metrics()
        assert found.operations[Status.COMPLETED] == found.turns_ended[Status.COMPLETED] == 1
        assert (found.active_turns, found.pending_interactions) == (1, 1)
        assert found.oldest_pending_interaction_seconds == 1.5


async def test_an_empty_state_is_counted_as_such(at: Reception) -> None:
    limits = at.settings.max_active_turns_global
    assert await at.desk.metrics() == Metrics(active_turns_limit=limits)


async def test_prometheus_finds_every_status_from_the_first_scrape_on(at: Reception) -> None:
    await works(at, "worker")
    await submitted(at, "wait")
    text = exposition(await at.desk.metrics())
    read = samples(text)
    for status in Status:
        assert read["codex_control_plane_operations", status] == (status is Status.QUEUED)
        assert (("codex_control_plane_turns_ended_total", status) in read) == (status in FINAL)
    assert read["codex_control_plane_queue_depth", ""] == 1
    assert read["codex_control_plane_worker_start_time_seconds", ""] == at.clock.at / 1000
    for name in {name for name, _ in read}:
        help_, type_ = re.findall(rf"^# (?:HELP|TYPE) {name} (.+)$", text, re.MULTILINE)
        assert help_.endswith(".")
        assert type_ == ("counter" if name.endswith("_total") else "gauge")


def test_the_guide_says_of_each_metric_what_the_scrape_says() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/observability.md").read_text("utf-8")
    row = r"^\| `(codex_control_plane_\w+)\S*` \| (\w+) \| (.+) \|$"
    rows = re.findall(row, guide, re.MULTILINE)
    text = exposition(Metrics(worker_started_at=Moment(0)))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (\S+) (.+)$", text, re.MULTILINE))
    assert rows == [(name, types[name], said) for name, said in helps.items()]
