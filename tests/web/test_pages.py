"""What the pages show, what their forms do, and what an open one is told."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.workflows.starting import StartPlan
from codex_control_plane_mcp.model.ids import OperationId, TurnId
from codex_control_plane_mcp.model.operation import Completed, Failed, Plan, Report, Trouble
from codex_control_plane_mcp.model.repair import Change, Outcome, RepairRun
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store import repairs
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from tests.desk.reception import APP_SERVER, USER_INPUT, Reception
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


# --- What is wrong, and mending it ---------------------------------------------------------------


@asynccontextmanager
async def mending(at: Reception, *changes: Change) -> AsyncIterator[list[RepairRun]]:
    """A workshop that has this to change, until it was changed once; gives what was wished."""
    seen: list[RepairRun] = []

    def conclude(writing: Writing) -> None:
        for run in repairs.open_runs(writing.connection, writing.host):
            was_done = any(not one.dry_run for one in seen)
            seen.append(run)
            if was_done:
                outcome, result = Outcome.REFUSED, "something else would change"
            elif run.dry_run:
                outcome, result = Outcome.PLANNED, "what it did so far stays"
            else:
                outcome, result = Outcome.APPLIED, "1 of 1 has ended"
            repairs.conclude(writing, run.id, outcome, changes, result)

    async def work() -> None:
        with at.book.bell.listening(about=Subject.REPAIR) as wish:
            while True:
                await wish.wait()
                await at.book.write(conclude)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        yield seen
        tasks.cancel_scope.cancel()


async def test_what_is_wrong_is_said_with_evidence_and_the_next_step(at: Reception) -> None:
    operation_id = await running(at)
    async with visiting(at) as visitor:
        well = (await visitor.get("health")).text
        assert "Nothing is known to be wrong." in well
        assert "What may mend it" not in well
        trouble = Trouble("usageLimitExceeded", "try again at 18:00")
        await at.workshop.record(operation_id, Failed(trouble))
        page = (await visitor.get("health")).text
        assert "usage limit is reached" in page
        assert "likely the root cause" in page
        assert "try again at 18:00" in page
        assert "confidence: high" in page
        assert f"tasks/{operation_id}/diagnosis" in page

        other = await running(at, "paint the door")
        assert f"tasks/{other}/diagnosis" in (await visitor.get(f"tasks/{other}")).text
        assert "Nothing is known" in (await visitor.get(f"tasks/{other}/diagnosis")).text
        own = (await visitor.get(f"tasks/{operation_id}/diagnosis")).text
        assert "usage limit is reached" in own
        assert (await visitor.get("tasks/op_1/diagnosis")).status_code == 404


async def test_a_repair_is_read_before_just_that_is_done(at: Reception) -> None:
    operation_id = await running(at)
    at.runtime.gone.add(APP_SERVER)
    change = Change("operation", operation_id, "running → unknown")
    async with visiting(at) as visitor, mending(at, change) as wished:
        page = (await visitor.get(f"tasks/{operation_id}/diagnosis")).text
        wanted = hidden_fields(page, "health/repairs")
        assert wanted["action"] == "mark_orphaned_after_exit"
        assert wished == []  # whoever only looks wishes for nothing

        planned = (await visitor.send("health/repairs", wanted)).json()
        assert planned["said"] == "Nothing is changed yet."
        path = "health/repairs/" + planned["go"].rpartition("/")[2]
        page = (await visitor.get(path)).text
        assert "What it would change" in page
        assert "running → unknown" in page
        assert "what it did so far stays" in page

        done = (await visitor.send(f"{path}/carry-out")).json()
        assert done["said"] == "1 of 1 has ended"
        result = (await visitor.get("health/repairs/" + done["go"].rpartition("/")[2])).text
        assert "What it changed" in result
        assert "carry-out" not in result
        again = await visitor.send(f"{path}/carry-out")
        assert again.status_code == 409
        assert "something else would change" in again.json()["said"]

    dry, wet, _ = wished
    assert (dry.dry_run, dry.scope.operation_id) == (True, operation_id)
    assert (wet.dry_run, wet.scope, wet.plan_id) == (False, dry.scope, dry.id)
    assert wet.made_by.startswith("web:a browser (session")


async def test_what_costs_work_is_done_only_as_it_was_planned(at: Reception) -> None:
    operation_id = await running(at)
    async with visiting(at) as visitor, mending(at) as wished:
        asked = {"operation_id": operation_id, "force": "yes", "token": visitor.token}
        answer = await visitor.send("health/repairs", asked, action="interrupt_turn")
        planned = answer.json()
        path = "health/repairs/" + planned["go"].rpartition("/")[2]
        assert "whatever it costs" in (await visitor.get(path)).text
        done = (await visitor.send(f"{path}/carry-out")).json()
        real = "health/repairs/" + done["go"].rpartition("/")[2]
        # What was done is no plan.
        assert (await visitor.send(f"{real}/carry-out")).status_code == 400
        assert (await visitor.send("health/repairs/rp_1/carry-out")).status_code == 404
        assert (await visitor.get("health/repairs/rp_1")).status_code == 404
        assert (await visitor.send("health/repairs", action="burn_it")).status_code == 400
        unscoped = await visitor.send("health/repairs", action="interrupt_turn")
        assert "needs an operation_id" in unscoped.json()["said"]
    assert [(one.dry_run, one.force) for one in wished] == [(True, True), (False, True)]


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """Those of the first form that is sent there."""
    form = page.partition(f'{action}"')[2].partition("</form>")[0]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))


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
