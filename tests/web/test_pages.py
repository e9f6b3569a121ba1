"""What the pages show, what their forms do, and what an open one is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.workflows.starting import StartPlan
from codex_control_plane_mcp.model.ids import OperationId, TurnId
from codex_control_plane_mcp.model.operation import Completed, Plan, Report
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store.bell import Subject
from tests.desk.reception import USER_INPUT, Reception
from tests.web.visitors import Visitor, visiting

pytestmark = pytest.mark.anyio


def task(at: Reception, message: str) -> Task:
    return Task(operation_type=OperationType.START_CHAT, message=message, cwd=str(at.project))


async def running(at: Reception, message: str = "mend the till") -> str:
    receipt = await at.desk.submit(task(at, message))
    await at.workshop.start(receipt.operation_id)
    return receipt.operation_id


@asynccontextmanager
async def delivering(at: Reception) -> AsyncIterator[None]:
    """Whatever somebody wishes is done."""

    async def deliver() -> None:
        with at.book.bell.listening(about=Subject.WISH) as wish:
            while True:
                await wish.wait()
                await at.workshop.grant_wishes()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        yield
        tasks.cancel_scope.cancel()


async def test_an_answer_reaches_codex_and_the_audit_says_who_gave_it(at: Reception) -> None:
    operation_id = await running(at)
    question = await at.workshop.ask(operation_id, {"command": "make ship", "cwd": "/shop"})
    async with visiting(at) as visitor, delivering(at):
        page = (await visitor.get("inbox")).text
        assert "make ship" in page
        assert "/shop" in page
        done = await visitor.send(f"inbox/{question}", decision='"accept"')
        assert done.json()["said"] == "Codex has your answer."
        again = await visitor.send(f"inbox/{question}", decision='"decline"')
        assert again.status_code == 409
        assert "answered by web:a browser (session" in again.json()["said"]
        page = (await visitor.get("inbox")).text
        assert "by web:a browser (session" in page
        assert "<b>Approve</b>" in page


async def test_without_scripts_a_form_leads_back_to_its_page(at: Reception) -> None:
    operation_id = await running(at)
    async with visiting(at) as visitor, delivering(at):
        answer = await visitor.send(f"tasks/{operation_id}/interrupt", headers={"Accept": "*/*"})
        assert answer.status_code == 303
        assert answer.headers["location"].endswith(f"/tasks/{operation_id}")
        assert ">interrupted<" in (await visitor.get(f"tasks/{operation_id}")).text


async def test_questions_are_answered_by_choice_or_in_words(at: Reception) -> None:
    operation_id = await running(at)
    options = [{"label": "Red", "description": "as the door"}, {"label": "Blue", "description": ""}]
    question = {"id": "q 1", "header": "H", "question": "Which?", "options": options}
    first = await at.workshop.ask(operation_id, {"questions": [question]}, USER_INPUT)
    asked = {"questions": [question | {"isOther": True}]}
    async with visiting(at) as visitor, delivering(at):
        assert "Or in your own words" not in (await visitor.get("inbox")).text
        empty = await visitor.send(f"inbox/{first}", {"token": visitor.token, "typed:q 1": ""})
        assert empty.status_code == 400
        words = {"token": visitor.token, "chosen:q 1": "Red", "typed:q 1": ""}
        await visitor.send(f"inbox/{first}", words)
        second = await at.workshop.ask(operation_id, asked, USER_INPUT, request_id=2)
        assert "Or in your own words" in (await visitor.get("inbox")).text
        done = await visitor.send(f"inbox/{second}", words | {"typed:q 1": "neither"})
        assert done.status_code == 200, done.text
        page = (await visitor.get("inbox")).text
        assert "<b>Red</b>" in page
        assert "<b>neither</b>" in page


async def test_a_plan_is_sent_back_then_approved_by_its_hash(at: Reception) -> None:
    flow = await at.desk.workflows.start_plan(
        StartPlan(message="plan it", title="The plan", cwd=str(at.project))
    )
    assert flow.plan_operation_id is not None
    await _planned(at, flow.plan_operation_id, "first *thought*", "u-1")
    async with visiting(at) as visitor:
        page = (await visitor.get(f"plans/{flow.workflow_id}")).text
        assert "first <em>thought</em>" in page
        old = _hash(page)
        await visitor.send(f"plans/{flow.workflow_id}/revise", message="shorter")
        newest = (await at.desk.overview.now()).queued[0].operation_id
        await _planned(at, newest, "# Second\n\n" + "plank " * 5000, "u-2")

        # The hash that an old page still shows approves nothing.
        late = await visitor.send(f"plans/{flow.workflow_id}/approve", plan_hash=old)
        assert late.status_code == 400
        page = (await visitor.get(f"plans/{flow.workflow_id}")).text
        assert page.count("plank") == 5000  # all that is decided on
        new = _hash(page)
        done = await visitor.send(f"plans/{flow.workflow_id}/approve", plan_hash=new)
        assert "Approved" in done.json()["said"]
        again = await visitor.send(f"plans/{flow.workflow_id}/approve", plan_hash=new)
        assert "approved before by web:" in again.json()["said"]


async def _planned(at: Reception, operation_id: str, markdown: str, turn: str) -> None:
    await at.workshop.start(operation_id, turn=turn)
    report = Report("see the plan", TurnId(turn), Plan(f"p-{turn}", markdown))
    await at.workshop.record(operation_id, Completed(report))


def _hash(page: str) -> str:
    return page.partition('name="plan_hash" value="')[2].partition('"')[0]


async def test_a_turn_is_steered_and_a_thread_gone_on_with_or_forked(at: Reception) -> None:
    operation_id = await running(at)
    async with visiting(at) as visitor:
        path = f"tasks/{operation_id}"
        assert (await visitor.send(f"{path}/steer", message="also this")).status_code == 200
        assert (await visitor.send(f"{path}/steer", message=" ")).status_code == 400
        await at.workshop.complete(operation_id, "done")
        on = await visitor.send(f"{path}/more", message="next", how="here", sandbox="read-only")
        fork = await visitor.send(f"{path}/more", message="other", how="fork", sandbox="")
        odd = await visitor.send(f"{path}/more", message="x", how="here", sandbox="everything")
        assert odd.status_code == 400
    types = [await _type(at, answer.json()["go"]) for answer in (on, fork)]
    assert types == [OperationType.SEND_MESSAGE, OperationType.FORK_THREAD]


async def _type(at: Reception, go: str) -> OperationType:
    sheet = await at.desk.overview.sheet(OperationId(go.rpartition("/")[2]))
    return sheet.card.operation_type


async def test_what_does_not_exist_is_said_to_be_missing(at: Reception) -> None:
    async with visiting(at) as visitor:
        for path in ("tasks/op_1", "plans/wf_1", "nowhere", "tasks/op_1/steer/x"):
            answer = await visitor.get(path)
            assert answer.status_code == 404, path
            assert "What goes on now" in answer.text
        assert (await visitor.get("tasks?state=odd")).status_code == 400
        assert (await visitor.get("tasks?cursor=odd")).status_code == 400
        assert (await visitor.get("live?task=op_1")).status_code == 404
        assert (await visitor.get("live?after=-1")).status_code == 404


async def test_all_tasks_are_listed_page_by_page(at: Reception) -> None:
    for number in range(230):
        await at.desk.submit(task(at, f"task {number}"))
    async with visiting(at) as visitor:
        page = (await visitor.get("tasks?state=active")).text
        seen: list[str] = []
        while True:
            seen += [part.partition('"')[0] for part in page.split('data-key="')[1:]]
            _, found, rest = page.partition("cursor=")
            if not found:
                break
            cursor = rest.partition('"')[0]
            page = (await visitor.get(f"tasks?state=active&cursor={cursor}&part=1")).text
        assert len(seen) == len(set(seen)) == 230
        assert seen == sorted(seen, reverse=True)


# --- Open pages ----------------------------------------------------------------------------------


class Stream:
    """What an open page hears, event by event."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.aiter_lines()

    async def hear(self, *names: str) -> tuple[str, dict[str, Any], int | None]:
        """The next event of one of these names."""
        name, seq = "", None
        with anyio.fail_after(20):
            async for line in self._lines:
                key, _, value = line.partition(": ")
                if key == "event":
                    name, seq = value, None
                elif key == "id":
                    seq = int(value)
                elif key == "data" and (not names or name in names):
                    return name, json.loads(value), seq
        raise AssertionError("the stream ended")


@asynccontextmanager
async def listening(visitor: Visitor, path: str, **headers: str) -> AsyncIterator[Stream]:
    address = visitor.site.base + path
    async with visitor.http.stream("GET", address, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


async def test_an_open_page_is_told_of_a_change_and_its_worker_stays(at: Reception) -> None:
    async with visiting(at) as visitor:
        async with listening(visitor, "live") as stream:
            _, told, _ = await stream.hear("hello")
            assert visitor.site.door.viewers == 1
            await at.desk.submit(task(at, "mend the till"))
            await stream.hear("changed")
        with anyio.fail_after(20):
            while visitor.site.door.viewers:
                await anyio.lowlevel.checkpoint()
        assert f'data-worker="{told["worker"]}"' in (await visitor.get()).text


async def test_a_timeline_goes_on_behind_the_last_line_that_was_heard(at: Reception) -> None:
    operation_id = await running(at)
    path = f"live?task={operation_id}"
    async with visiting(at) as visitor:
        async with listening(visitor, path) as stream:
            _, lines, heard = await stream.hear("lines")
            assert "Queued." in lines["html"]
            await at.workshop.say(operation_id, "Half of a ")
            _, lines, heard = await stream.hear("lines")
            assert "Half of a" in lines["html"]
            assert 'data-item="item-1"' in lines["html"]
        # Meanwhile the line was down.
        await at.workshop.say(operation_id, "sentence.")
        async with listening(visitor, f"{path}&after=1", **{"Last-Event-ID": str(heard)}) as stream:
            _, lines, _ = await stream.hear("lines")
            assert "sentence." in lines["html"]
            assert "Half" not in lines["html"]
        page = (await visitor.get(f"tasks/{operation_id}")).text
        assert page.count("Half of a sentence.") == 1  # one text, though it came in two parts


async def test_a_worker_that_leaves_says_so(at: Reception) -> None:
    with anyio.fail_after(20):
        async with visiting(at) as visitor, listening(visitor, "live") as stream:
            await stream.hear("hello")
            visitor.site.leave()
            await stream.hear("bye")
