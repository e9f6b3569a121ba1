"""What the desk shows of an operation, and when it answers those who wait."""

from __future__ import annotations

import anyio
import pytest

from codex_control_plane_mcp.desk.interactions import Given, Page
from codex_control_plane_mcp.desk.status import REPORT_PAGE_CHARS, Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views import OperationView, WaitView
from codex_control_plane_mcp.desk.wait import Until, Watched
from codex_control_plane_mcp.errors import InvalidArgument, OperationNotFound
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Failed, Status, Trouble
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store.interactions import Search
from tests.desk.reception import Reception


async def submitted(at: Reception, message: str = "mend the till") -> OperationId:
    task = Task(operation_type=OperationType.START_CHAT, message=message, cwd=str(at.project))
    return OperationId((await at.desk.submit(task)).operation_id)


async def running(at: Reception, number: int = 1) -> OperationId:
    operation_id = await submitted(at, f"task {number}")
    await at.workshop.start(operation_id, f"t-{number}", f"u-{number}")
    return operation_id


def look(operation_id: OperationId, **more: int) -> Look:
    return Look(operation_id=operation_id, **more)


async def test_an_operation_that_does_not_exist_is_named(at: Reception) -> None:
    with pytest.raises(OperationNotFound, match="op_nothing"):
        await at.desk.status(look(OperationId("op_nothing")))
    with pytest.raises(OperationNotFound, match="op_nothing"):
        await at.desk.status(look(OperationId("op_nothing")), wait_seconds=45)


async def test_a_running_operation_shows_codexs_word_and_how_old_it_is(at: Reception) -> None:
    operation_id = await running(at)
    at.clock.at += 90_000

    shown = await at.desk.status(look(operation_id))

    assert (shown.status, shown.thread_id, shown.turn_id) == (Status.RUNNING, "t-1", "u-1")
    assert shown.evidence.source == "app_server"
    assert shown.evidence.quiet_for_seconds == 90
    assert shown.effective_policy is not None
    assert shown.effective_policy.sandbox == "read-only"
    assert shown.next_recommended_action == "wait"


async def test_a_message_is_put_together_from_its_parts(at: Reception) -> None:
    operation_id = await running(at)
    for text in ("I look ", "at ", "the till."):
        await at.workshop.say(operation_id, text)
    await at.workshop.say(operation_id, "Now I mend it.", item="item-2")

    shown = await at.desk.status(look(operation_id, last_messages=2))

    assert [message.text for message in shown.latest_messages] == [
        "I look at the till.",
        "Now I mend it.",
    ]
    last = await at.desk.status(look(operation_id, last_messages=1, message_max_chars=5))
    assert [(message.text, message.truncated) for message in last.latest_messages] == [
        ("… it.", True)
    ]


async def test_the_report_is_not_repeated_as_a_message_however_long_it_is(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.say(operation_id, "Let me see.", item="item-0")
    parts = [f"part {n} " for n in range(500)]
    await at.workshop.record(
        operation_id, entries=[Entry(Category.ASSISTANT, part, "item-1") for part in parts]
    )
    talking = await at.desk.status(look(operation_id))
    assert [message.truncated for message in talking.latest_messages] == [True]
    assert talking.latest_messages[0].text.endswith("part 499 ")

    await at.workshop.complete(operation_id, "".join(parts))

    assert (await at.desk.status(look(operation_id))).latest_messages == ()


async def test_the_progress_is_numbered_and_can_be_left_out(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.note(operation_id, "ls", "cat till.py")

    shown = await at.desk.status(look(operation_id, progress_events=2))
    assert shown.progress_events is not None
    assert [event.text for event in shown.progress_events] == ["ls", "cat till.py"]
    assert shown.latest_seq == shown.progress_events[-1].seq == shown.next_after_seq

    without = await at.desk.status(look(operation_id, progress_events=0))
    assert without.progress_events is None


async def test_of_a_completed_operation_only_the_last_events_are_shown_unless_asked(
    at: Reception,
) -> None:
    operation_id = await running(at)
    await at.workshop.note(operation_id, *(f"step {n}" for n in range(25)))

    async def shown(**more: int) -> list[str]:
        events = (await at.desk.status(look(operation_id, **more))).progress_events
        return [event.text for event in events or ()]

    assert await shown() == [f"step {n}" for n in range(15, 25)]
    await at.workshop.complete(operation_id)
    assert await shown() == ["step 23", "step 24", "Completed."]
    assert len(await shown(progress_events=20)) == 20
    assert len(await shown(after_seq=0)) == 10


async def test_following_the_events_by_number_loses_and_repeats_none(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.note(operation_id, *(f"step {n}" for n in range(25)))

    seen: list[int] = []
    after = 0
    while True:
        shown = await at.desk.status(look(operation_id, after_seq=after, progress_events=7))
        if not shown.progress_events:
            break
        seen += [event.seq for event in shown.progress_events]
        assert shown.next_after_seq is not None
        after = shown.next_after_seq

    assert seen == list(range(1, shown.latest_seq + 1))


async def test_a_long_report_is_read_page_by_page_to_the_letter(at: Reception) -> None:
    operation_id = await running(at)
    report = "".join(f"{n:05} größer\n" for n in range(2000))
    await at.workshop.complete(operation_id, report)

    parts: list[str] = []
    offset: int | None = 0
    while offset is not None:
        shown = (await at.desk.status(look(operation_id, report_offset=offset))).final_report
        assert shown is not None
        assert shown.total_chars == len(report)
        assert len(shown.text) <= REPORT_PAGE_CHARS
        parts.append(shown.text)
        offset = shown.next_offset

    assert "".join(parts) == report
    with pytest.raises(InvalidArgument, match="beyond the end"):
        await at.desk.status(look(operation_id, report_offset=len(report) + 1))


async def test_a_failure_says_what_went_wrong(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.record(operation_id, Failed(Trouble("usageLimitExceeded", "no more today")))

    shown = await at.desk.status(look(operation_id))

    assert shown.status is Status.FAILED
    assert shown.last_error is not None
    assert shown.last_error.code == "usageLimitExceeded"
    assert not shown.poll_recommended


async def waited(at: Reception, wanted: Look, seconds: float) -> tuple[OperationView, float]:
    began = anyio.current_time()
    shown = await at.desk.status(wanted, seconds)
    return shown, anyio.current_time() - began


async def test_a_wait_ends_when_nothing_happens(at: Reception) -> None:
    operation_id = await running(at)

    shown, seconds = await waited(at, look(operation_id), 45)

    assert shown.status is Status.RUNNING
    assert seconds == pytest.approx(45)


async def test_a_wait_without_a_number_ends_at_the_end_not_at_each_status_and_word(
    at: Reception,
) -> None:
    operation_id = await submitted(at)

    async def work() -> None:
        await anyio.sleep(1)
        await at.workshop.start(operation_id)
        for _ in range(3):
            await anyio.sleep(1)
            await at.workshop.say(operation_id, "hm ")
        await anyio.sleep(1)
        await at.workshop.complete(operation_id)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        shown, seconds = await waited(at, look(operation_id), 45)

    assert shown.status is Status.COMPLETED
    assert seconds == pytest.approx(5)


async def test_a_wait_ends_at_each_question_once(at: Reception) -> None:
    operation_id = await running(at)

    async def work() -> None:
        await anyio.sleep(2)
        await at.workshop.ask(operation_id, {"command": "ls"}, request_id=1)
        await anyio.sleep(3)
        # The status stays.
        await at.workshop.ask(operation_id, {"command": "rm"}, request_id=2)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        first, seconds = await waited(at, look(operation_id), 45)
        assert (len(first.pending_interactions), round(seconds)) == (1, 2)
        second, seconds = await waited(at, look(operation_id), 45)
        assert (len(second.pending_interactions), round(seconds)) == (2, 3)
    # Whoever leaves it to others to answer is not called again and again.
    assert (await waited(at, look(operation_id), 45))[1] == pytest.approx(45)


async def test_a_wait_ends_at_once_at_a_question_that_its_caller_was_not_shown(
    at: Reception,
) -> None:
    operation_id = await running(at)
    await at.workshop.ask(operation_id, {"command": "ls"})

    async def waited_for(by: str) -> float:
        begin = anyio.current_time()
        with anyio.fail_after(50):
            await at.desk.status(look(operation_id), 45, by)
        return anyio.current_time() - begin

    assert await waited_for("mcp:one") == 0
    assert await waited_for("mcp:one") == pytest.approx(45)
    await at.desk.interactions(Page(Search()), "mcp:another")
    assert await waited_for("mcp:another") == pytest.approx(45)
    assert await waited_for("mcp:third") == 0


async def test_a_wait_ends_at_no_answer_but_at_one_that_codex_would_not_have(
    at: Reception,
) -> None:
    operation_id = await running(at)
    question = await at.workshop.ask(operation_id, {"command": "ls"})
    await at.desk.answer(Given(question, {"decision": "accept"}, "test"))

    async def work() -> None:
        await anyio.sleep(50)
        await at.workshop.refuse(operation_id)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        on_its_way, seconds = await waited(at, look(operation_id), 45)
        assert (on_its_way.next_recommended_action, round(seconds)) == ("wait", 45)
        asks_still, seconds = await waited(at, look(operation_id), 45)
        assert asks_still.next_recommended_action == "answer_pending_interaction"
        assert seconds == pytest.approx(5)


async def test_a_wait_behind_a_number_ends_at_the_next_entry(at: Reception) -> None:
    operation_id = await running(at)
    latest = (await at.desk.status(look(operation_id))).latest_seq

    async def work() -> None:
        await anyio.sleep(3)
        await at.workshop.say(operation_id, "hm")

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        shown, seconds = await waited(at, look(operation_id, after_seq=latest), 45)

    assert shown.latest_seq == latest + 1
    assert seconds == pytest.approx(3)


async def test_nobody_waits_for_what_is_final(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.complete(operation_id)

    shown, seconds = await waited(at, look(operation_id, after_seq=999), 45)

    assert (shown.status, seconds) == (Status.COMPLETED, 0)


class TestWaitingForSeveral:
    """`codex_wait`."""

    async def wait(
        self,
        at: Reception,
        ids: list[OperationId],
        cursor: str | None = None,
        until: Until = Until.ATTENTION,
    ) -> tuple[WaitView, float]:
        began = anyio.current_time()
        found = await at.desk.wait(Watched(ids), 45, cursor, until)
        return found, anyio.current_time() - began

    async def test_the_first_to_change_is_told_and_then_the_next(self, at: Reception) -> None:
        one, two = await running(at, 1), await running(at, 2)

        async def work() -> None:
            await anyio.sleep(2)
            await at.workshop.complete(two, turn="u-2")
            await anyio.sleep(2)
            await at.workshop.complete(one, turn="u-1")

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            first, seconds = await self.wait(at, [one, two])
            assert [line.operation_id for line in first.operations] == [two]
            assert seconds == pytest.approx(2)
            assert first.unfinished == 1
            second, seconds = await self.wait(at, [one, two], first.cursor)

        assert [line.operation_id for line in second.operations] == [one]
        assert seconds == pytest.approx(2)
        assert second.unfinished == 0

    @pytest.mark.parametrize(
        ("until", "told"),
        [
            (Until.ATTENTION, [(Status.COMPLETED, 2)]),
            (Until.CHANGE, [(Status.RUNNING, 1), (Status.COMPLETED, 1)]),
        ],
    )
    async def test_only_who_wants_every_change_is_told_of_those_that_want_nobody(
        self, at: Reception, until: Until, told: list[tuple[Status, float]]
    ) -> None:
        operation_id = await submitted(at)

        async def work() -> None:
            await anyio.sleep(1)
            await at.workshop.start(operation_id)
            await anyio.sleep(1)
            await at.workshop.complete(operation_id)

        heard, cursor = [], None
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            while True:
                found, seconds = await self.wait(at, [operation_id], cursor, until)
                heard += [(line.status, round(seconds)) for line in found.operations]
                cursor = found.cursor
                if found.unfinished == 0:
                    break
        assert heard == told

    async def test_a_second_question_is_told_although_the_status_stays(self, at: Reception) -> None:
        operation_id = await running(at)
        await at.workshop.ask(operation_id, {"command": "ls"}, request_id=1)
        first, _ = await self.wait(at, [operation_id])

        async def ask_again() -> None:
            await anyio.sleep(3)
            await at.workshop.ask(operation_id, {"command": "rm"}, request_id=2)

        async with anyio.create_task_group() as group:
            group.start_soon(ask_again)
            second, seconds = await self.wait(at, [operation_id], first.cursor)

        assert [line.pending_interaction_count for line in second.operations] == [2]
        assert seconds == pytest.approx(3)

    async def test_what_is_final_or_waits_for_a_person_is_told_at_once(self, at: Reception) -> None:
        one, two, three = await running(at, 1), await running(at, 2), await running(at, 3)
        await at.workshop.complete(one)
        await at.workshop.ask(two, {"command": "ls"})

        found, seconds = await self.wait(at, [one, two, three])

        assert [line.operation_id for line in found.operations] == [one, two]
        assert [line.pending_interaction_count for line in found.operations] == [0, 1]
        assert seconds == 0

    async def test_nothing_is_told_twice_and_nothing_is_missed_between_two_calls(
        self, at: Reception
    ) -> None:
        operation_id = await running(at)
        first, _ = await self.wait(at, [operation_id])
        assert first.timed_out
        await at.workshop.ask(operation_id, {"command": "ls"})

        second, seconds = await self.wait(at, [operation_id], first.cursor)
        assert [line.operation_id for line in second.operations] == [operation_id]
        assert seconds == 0

        third, seconds = await self.wait(at, [operation_id], second.cursor)
        assert (third.operations, third.timed_out) == ((), True)

    async def test_more_than_fit_into_one_answer_come_with_the_next_call(
        self, at: Reception
    ) -> None:
        ids = [await submitted(at, f"task {n}") for n in range(30)]
        for operation_id in ids:
            await at.workshop.record(operation_id, Failed(Trouble("x", "y")))

        first, _ = await self.wait(at, ids)
        second, _ = await self.wait(at, ids, first.cursor)
        third, seconds = await self.wait(at, ids, second.cursor)

        told = [line.operation_id for line in (*first.operations, *second.operations)]
        assert told == ids
        assert (third.operations, seconds) == ((), 0)

    @pytest.mark.parametrize("cursor", ["", "x", "00000000-1.0", "\ud800"])
    async def test_a_cursor_that_is_none_of_ours_is_refused(
        self, at: Reception, cursor: str
    ) -> None:
        operation_id = await running(at)
        with pytest.raises(InvalidArgument, match="cursor"):
            await self.wait(at, [operation_id], cursor)

    async def test_a_cursor_belongs_to_its_operations(self, at: Reception) -> None:
        one, two = await running(at, 1), await running(at, 2)
        found, _ = await self.wait(at, [one])
        with pytest.raises(InvalidArgument, match="cursor"):
            await self.wait(at, [two], found.cursor)

    async def test_those_that_do_not_exist_are_named(self, at: Reception) -> None:
        operation_id = await running(at)
        with pytest.raises(OperationNotFound, match="op_x, op_y"):
            await self.wait(at, [operation_id, OperationId("op_x"), OperationId("op_y")])
