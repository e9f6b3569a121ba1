"""Everything at a glance: what people see who look at the whole."""

from __future__ import annotations

from datetime import UTC

import pytest

from codex_control_plane_mcp.codex.words.things import ChangedFile
from codex_control_plane_mcp.desk.overview import Listing
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.usage import NOBODY_NAMED
from codex_control_plane_mcp.desk.workflows.starting import StartPlan
from codex_control_plane_mcp.errors import InvalidArgument, OperationNotFound
from codex_control_plane_mcp.model.ids import OperationId, TurnId
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Completed, Plan, Report, TokenUsage
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import Phase
from codex_control_plane_mcp.store import lookup, operations
from codex_control_plane_mcp.store.book import Writing
from tests.desk.reception import Reception

pytestmark = pytest.mark.anyio

HOUR = 3_600_000


async def submit(at: Reception, message: str, **more: object) -> str:
    given = {"operation_type": OperationType.START_CHAT, "cwd": str(at.project), **more}
    return (await at.desk.submit(Task(message=message, **given))).operation_id  # type: ignore[arg-type]


async def test_the_board_shows_what_wants_somebody_what_runs_what_waits_and_what_ended(
    at: Reception,
) -> None:
    ended = await submit(at, "first")
    await at.workshop.start(ended)
    await at.workshop.complete(ended)
    running = await submit(at, "second", agent_id="claude")
    await at.workshop.start(running, thread="t-2", turn="u-2")
    await at.workshop.note(running, "$ make")
    asked = await at.workshop.ask(running)
    waiting = await submit(at, "third", title="The third")
    flow = await at.desk.workflows.start_plan(
        StartPlan(message="plan it", title="A plan", cwd=str(at.project))
    )
    assert flow.plan_operation_id is not None
    await at.workshop.start(flow.plan_operation_id, thread="t-3", turn="u-3")
    planned = Completed(Report("see", TurnId("u-3"), Plan("p", "# Plan")))
    await at.workshop.record(flow.plan_operation_id, planned)

    board = await at.desk.overview.now()
    assert [one.interaction.interaction_id for one in board.questions] == [asked]
    assert [one.title for one in board.questions] == ["second"]
    assert [(one.title, one.phase) for one in board.decisions] == [("A plan", Phase.PLAN_READY)]
    assert [(one.operation_id, one.agent_id) for one in board.running] == [(running, "claude")]
    (queued,) = board.queued
    assert (queued.operation_id, queued.title, board.queued_count) == (waiting, "The third", 1)
    assert queued.queue is not None
    assert queued.queue.position == 1
    assert [one.title for one in board.ended] == ["A plan", "first"]
    assert (await at.desk.overview.waiting()).total == 2


async def test_a_question_about_files_comes_with_what_would_change(at: Reception) -> None:
    running = await submit(at, "mend")
    await at.workshop.start(running)
    await at.workshop.ask(
        running,
        {"reason": "because"},
        "item/fileChange/requestApproval",
        files=[ChangedFile("a.py", "update", 1, 1, "-old\n+new"), ChangedFile("b", None, 0, 0)],
    )
    (asked,) = (await at.desk.overview.inbox()).questions
    assert [(one.path, one.kind, one.diff) for one in asked.changes] == [
        ("a.py", "update", "-old\n+new"),
        ("b", "update", ""),
    ]
    (in_list,) = (await at.desk.overview.sheet(OperationId(running))).questions
    assert in_list == asked


async def test_what_was_answered_says_by_whom(at: Reception) -> None:
    running = await submit(at, "mend")
    await at.workshop.start(running)
    asked = await at.workshop.ask(running)
    await at.workshop.close(asked, InteractionStatus.WITHDRAWN)
    inbox = await at.desk.overview.inbox()
    assert inbox.questions == ()
    (closed,) = inbox.closed
    assert (closed.title, closed.status) == ("mend", InteractionStatus.WITHDRAWN)
    assert closed.closed_at is not None


async def test_a_timeline_is_read_on_from_any_line(at: Reception) -> None:
    running = OperationId(await submit(at, "mend"))
    await at.workshop.start(running)
    await at.workshop.say(running, "Hello ")
    whole = await at.desk.overview.timeline(running, 0, 100)
    assert [one.seq for one in whole.entries] == list(range(1, whole.last_seq + 1))
    assert whole.entries[-1].item_id == "item-1"
    part = await at.desk.overview.timeline(running, 1, 2)
    assert ([one.seq for one in part.entries], part.last_seq, part.has_more) == ([2, 3], 3, True)
    nothing = await at.desk.overview.timeline(running, whole.last_seq, 2)
    assert (nothing.entries, nothing.last_seq, nothing.has_more) == ((), whole.last_seq, False)
    with pytest.raises(OperationNotFound):
        await at.desk.overview.timeline(OperationId("op_none"), 0, 1)


async def test_the_size_of_all_changes_is_codexs_own_word(at: Reception) -> None:
    running = OperationId(await submit(at, "mend"))
    await at.workshop.start(running)
    assert (await at.desk.overview.sheet(running)).changes is None
    entries = [
        Entry(Category.FILE_CHANGE, "All changes so far: 1 file, +1 -0 lines."),
        Entry(Category.FILE_CHANGE, "File change completed: a (+1 -0 lines).", "i-1"),
    ]
    await at.workshop.record(running, entries=entries)
    assert (await at.desk.overview.sheet(running)).changes == entries[0].text


async def test_lists_say_what_they_cannot_be_of(at: Reception) -> None:
    with pytest.raises(InvalidArgument, match="state"):
        await at.desk.overview.operations(Listing(state="odd"))
    for cursor in ("odd", "wf_1", "op_\N{SNOWMAN}"):
        with pytest.raises(InvalidArgument, match="cursor"):
            await at.desk.overview.operations(Listing(cursor=cursor))
    with pytest.raises(InvalidArgument, match="cursor"):
        await at.desk.overview.workflows("op_1")


async def test_a_task_took_what_its_thread_gained(at: Reception) -> None:
    began = at.clock.at
    first = await submit(at, "first", agent_id="claude")
    await at.workshop.start(first)
    await use(at, first, TokenUsage(1000, 600, 50, 10, 1050, None))
    at.clock.at += HOUR
    await at.workshop.complete(first)
    second = await submit(at, "second", operation_type=OperationType.SEND_MESSAGE, thread_id="t-1")
    await at.workshop.start(second, turn="u-2")
    await use(at, second, TokenUsage(1500, 900, 80, 10, 1580, None))
    # A person's own thread: what it had before is not known.
    at.runtime.folders["t-9"] = str(at.project)  # type: ignore[index]
    other = await submit(at, "third", operation_type=OperationType.SEND_MESSAGE, thread_id="t-9")
    await at.workshop.start(other, thread="t-9", turn="u-3")
    await use(at, other, TokenUsage(9000, 0, 0, 0, 9000, None))
    at.clock.at += HOUR

    usage = await at.desk.overview.usage(7, UTC)
    assert len(usage.days) == 7
    assert usage.total.tasks == 3
    assert (usage.total.input_tokens, usage.total.cached_tokens, usage.total.output_tokens) == (
        600,
        900,
        80,
    )
    assert usage.total.unknown == 1
    assert usage.total.seconds == 3 * 3600
    by_agent = {one.name: one.tokens for one in usage.agents}
    assert by_agent == {"claude": 1050, NOBODY_NAMED: 530}
    at.clock.at = began + 30 * 24 * HOUR
    assert (await at.desk.overview.usage(7, UTC)).total.tasks == 0


async def use(at: Reception, operation_id: str, usage: TokenUsage) -> None:
    def write(writing: Writing) -> None:
        operation = lookup.get(writing.connection, OperationId(operation_id))
        assert operation is not None
        operations.record(writing, operation, token_usage=usage)

    await at.book.write(write)
