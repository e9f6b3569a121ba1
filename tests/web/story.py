"""A book with something of everything in it: what the pages are looked at with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import anyio

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.codex.words.things import ChangedFile
from codex_control_plane_mcp.desk.interactions import Given
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.workflows.deciding import Approve
from codex_control_plane_mcp.desk.workflows.starting import StartPlan
from codex_control_plane_mcp.model.ids import (
    HERE,
    HostId,
    InteractionId,
    OperationId,
    ThreadId,
    TurnId,
    WorkflowId,
    new_repair_id,
)
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Failed,
    Lost,
    Plan,
    Policy,
    Report,
    ThreadBound,
    TokenUsage,
    Trouble,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.repair import (
    Action,
    Change,
    Outcome,
    RepairRun,
    RepairScope,
)
from codex_control_plane_mcp.model.request import OperationType, Priority
from codex_control_plane_mcp.store import lookup, operations, repairs, workers
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from tests.desk.reception import APP_SERVER, ME, USER_INPUT, Reception
from tests.hosts import enrolled

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

PLAN = """\
# Retry payments that time out

The till gives up when the bank is slow. We try again, and never charge twice.

1. `till/bank.py`: send an **idempotency key** with each charge.
2. `till/retry.py`: try again after 1, 2 and 4 seconds; only on a time-out.
3. `tests/test_retry.py`: a bank that answers late, one that answers twice, one that never does.

| case | today | then |
|---|---|---|
| bank is slow | the customer pays twice | one charge |
| bank is down | the till hangs | a clear message |

> Nothing is changed in the ledger.

```python
def charge(order: Order, key: str) -> Receipt:
    return bank.charge(order.total, idempotency_key=key)
```
"""
REPORT = """\
## What I found

The rounding error is in `till/tax.py`: tax is rounded **per line** and summed, the receipt rounds
**once**. For three at 0.99 € they differ by a cent.

- I changed `tax()` to round once, at the end.
- `tests/test_tax.py` has the case of the bug report, and two more.
- All 214 tests pass.

One thing is open: invoices that were written before keep their old sums.
"""
DIFF = """\
@@ -12,7 +12,9 @@ def tax(lines: list[Line]) -> Decimal:
     \"\"\"The tax of a receipt.\"\"\"
-    return sum(round(line.total * RATE, 2) for line in lines)
+    # Rounded once: the receipt does so, too.
+    exact = sum(line.total * RATE for line in lines)
+    return round(exact, 2)
"""


@dataclass
class Story:
    """Tells a book what happened, hour by hour."""

    at: Reception
    turns: int = 0

    def when(self, ago: int) -> None:
        self.at.clock.at = time.time_ns() // 1_000_000 - ago

    async def submit(self, message: str, **more: Any) -> str:
        task = Task(
            operation_type=OperationType.START_CHAT,
            message=message,
            cwd=str(self.at.project),
            **more,
        )
        return (await self.at.desk.submit(task)).operation_id

    async def start(self, operation_id: str, thread: str | None = None, host: str = HERE) -> None:
        self.turns += 1
        policy = Policy("workspace-write", "on-request", "gpt-5.2-codex")
        await self.at.workshop.record(
            operation_id,
            Claimed(ME, HostId(host)),
            ThreadBound(ThreadId(thread or f"thread-{self.turns}"), APP_SERVER, policy),
            TurnIntended(None),
            TurnAccepted(TurnId(f"turn-{self.turns}")),
        )

    async def note(
        self, operation_id: str, category: Category, *texts: str, item: str | None = None
    ) -> None:
        entries = [Entry(category, text, item) for text in texts]
        await self.at.workshop.record(operation_id, entries=entries)

    async def use(self, operation_id: str, input_: int, cached: int, output: int) -> None:
        usage = TokenUsage(input_, cached, output, output // 3, input_ + output, 272_000)

        def write(writing: Writing) -> None:
            operation = lookup.get(writing.connection, OperationId(operation_id))
            assert operation is not None
            operations.record(writing, operation, token_usage=usage, heard=True)

        await self.at.book.write(write)

    async def end(self, operation_id: str, text: str, plan: str | None = None) -> None:
        turn = TurnId(f"turn-{self.turns}")
        proposal = None if plan is None else Plan("item-plan", plan)
        await self.at.workshop.record(operation_id, Completed(Report(text, turn, proposal)))


async def tell(at: Reception) -> dict[str, str]:
    """A month in a shop. The ids of what is worth looking at, by name."""
    story = Story(at)
    ids: dict[str, str] = {}
    story.when(30 * DAY)
    await at.book.write(lambda writing: workers.enter(writing, "w-1", 4711, __version__))
    agents = ("claude-code", "openclaw", None, "hermes")
    for day in range(29, 0, -1):
        for number in range((day * 7) % 4 + (0 if day % 7 in (2, 3) else 1)):
            story.when(day * DAY - number * HOUR)
            id_ = await story.submit(
                f"Look at the open tickets of day {day}, part {number + 1}",
                agent_id=agents[(day + number) % 4],
            )
            await story.start(id_)
            size = 20_000 + (day * 7919 + number * 104_729) % 180_000
            await story.use(id_, size, size * 7 // 10, size // 9)
            story.when(day * DAY - number * HOUR - (4 + (day * 13) % 40) * MINUTE)
            await story.end(id_, "All tickets have an answer.")
    await _yesterday(story, ids)
    await _today(story, ids)
    ids["repair"] = await at.book.write(lambda writing: _plan_of_a_repair(writing, ids["running"]))
    story.when(0)
    return ids


def _plan_of_a_repair(writing: Writing, operation_id: str) -> str:
    run = RepairRun(
        id=new_repair_id(writing.now),
        action=Action.INTERRUPT_TURN,
        scope=RepairScope(operation_id=OperationId(operation_id)),
        dry_run=True,
        force=True,
        made_by="web:Firefox (session 7c1e)",
        created_at=writing.now,
    )
    repairs.wish_repair(writing, run)
    change = Change("operation", operation_id, "running → ended")
    cost = "what the turn has done stays; what it was about to do is not done"
    repairs.conclude(writing, run.id, Outcome.PLANNED, [change], cost)
    return run.id


async def _yesterday(story: Story, ids: dict[str, str]) -> None:
    story.when(5 * HOUR)
    id_ = await story.submit("Carry the exchange rates over to the new table", agent_id="hermes")
    await story.start(id_)
    trouble = Trouble("usageLimitExceeded", "You have hit your usage limit. Try again at 18:00.")
    await story.at.workshop.record(id_, Failed(trouble))
    story.when(4 * HOUR)
    id_ = ids["lost"] = await story.submit(
        "Sort the pictures of the catalogue", agent_id="openclaw"
    )
    await story.start(id_)
    await story.at.workshop.record(
        id_,
        Lost(
            Trouble(
                "CODEX_APP_SERVER_UNAVAILABLE",
                "The app-server ended, and nobody is left who knows whether the turn did.",
            )
        ),
    )
    story.when(3 * HOUR)
    id_ = ids["done"] = await story.submit(
        "The sums on receipts and invoices differ by a cent. Find out why, and mend it.",
        title="Mend the cent that receipts lose",
        agent_id="claude-code",
    )
    story.when(3 * HOUR - 20_000)
    await story.start(id_)
    await story.note(
        id_, Category.REASONING, "The receipt and the invoice round at different places."
    )
    await story.note(
        id_, Category.ASSISTANT, "I look at how ", "tax is computed first.", item="item-1"
    )
    await story.note(id_, Category.COMMAND, "$ rg -n 'round\\(' till/", "Exit code 0 after 0.1 s.")
    await story.note(id_, Category.CHECKLIST, "[x] find the place\n[>] mend it\n[ ] test it")
    story.when(3 * HOUR - 3 * MINUTE)
    asked = await story.at.workshop.ask(
        id_,
        {
            "command": "python -m pytest tests/test_tax.py -q",
            "cwd": str(story.at.project),
            "reason": "The tests write a cache outside the sandbox.",
        },
    )
    await story.note(id_, Category.INTERACTION, "Codex asks: May Codex run this command?")
    await _approve(story, asked)
    await story.note(id_, Category.INTERACTION, "Answered by web:Firefox (session 7c1e).")
    await story.note(id_, Category.COMMAND, "Exit code 0 after 2.4 s.")
    await story.note(id_, Category.FILE_CHANGE, "File change completed: till/tax.py (+3 -1 lines).")
    await story.at.workshop.record(
        id_, entries=[Entry(Category.FILE_CHANGE, "All changes so far: 2 files, +41 -1 lines.")]
    )
    await story.use(id_, 182_400, 121_000, 9_300)
    story.when(3 * HOUR - 11 * MINUTE)
    await story.end(id_, REPORT)
    plan = await _planned(story, "Make the search of the shop understand typing errors", 26 * HOUR)
    story.when(25 * HOUR)
    done = await story.at.desk.workflows.approve(
        Approve(workflow_id=WorkflowId(plan), by="mcp:claude-code")
    )
    execution = done.execution_operation_id
    await story.start(execution, done.thread_id)
    story.when(24 * HOUR + 20 * MINUTE)
    await story.end(execution, "The search finds *umbrela*. 12 tests were added.")


async def _approve(story: Story, asked: InteractionId) -> None:
    given = Given(asked, {"decision": "accept"}, "web:Firefox (session 7c1e)")
    with story.at.book.bell.listening(about=Subject.WISH) as wish:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(story.at.desk.answer, given)
            await wish.wait()
            await story.at.workshop.grant_wishes()


async def _planned(story: Story, title: str, ago: int) -> str:
    story.when(ago)
    shown = await story.at.desk.workflows.start_plan(
        StartPlan(message=f"{title}. Show me a plan first.", title=title, cwd=str(story.at.project))
    )
    operation_id = shown.plan_operation_id
    assert operation_id is not None
    await story.start(operation_id)
    story.when(ago - 4 * MINUTE)
    await story.end(operation_id, "Here is the plan.", PLAN)
    return shown.workflow_id


async def _today(story: Story, ids: dict[str, str]) -> None:
    ids["plan"] = await _planned(story, "Retry payments that time out", 40 * MINUTE)
    story.when(26 * MINUTE)
    running = ids["running"] = await story.submit(
        "Move the price list from the old format to the new one, keep the history, and say what "
        "could not be moved.",
        title="Move the price list",
        agent_id="claude-code",
    )
    await story.start(running)
    story.when(20 * MINUTE)
    await story.note(
        running, Category.REASONING, "Two formats share a header; the version tells them apart."
    )
    await story.note(
        running,
        Category.ASSISTANT,
        "I read both formats, then write the step from one to the other.",
        item="i-1",
    )
    await story.note(
        running,
        Category.COMMAND,
        "$ python scripts/prices.py --check prices/*.csv",
        "Exit code 0 after 8.2 s.",
    )
    await story.use(running, 96_000, 61_000, 5_200)
    story.when(30_000)
    await story.note(running, Category.COMMAND, "$ python -m pytest tests/prices -q")
    story.when(15 * MINUTE)
    asking = ids["asking"] = await story.submit(
        "Upgrade the web framework, and run everything once", agent_id="openclaw"
    )
    await story.start(asking)
    story.when(2 * MINUTE)
    await story.at.workshop.ask(
        asking,
        {
            "command": "pip install --upgrade 'framework>=5' && python manage.py migrate --plan",
            "cwd": str(story.at.project),
            "reason": "The new release has to be fetched, and the sandbox has no network.",
        },
    )
    await story.note(asking, Category.INTERACTION, "Codex asks: May Codex run this command?")
    story.when(14 * MINUTE)
    changing = ids["changing"] = await story.submit("Round taxes in one place", agent_id="hermes")
    await story.start(changing)
    story.when(MINUTE)
    await story.at.workshop.ask(
        changing,
        {"reason": "The rounding belongs in one place."},
        "item/fileChange/requestApproval",
        files=[ChangedFile("till/tax.py", "update", 3, 1, DIFF)],
    )
    story.when(9 * MINUTE)
    choosing = ids["choosing"] = await story.submit("Write the newsletter of December")
    await story.start(choosing)
    story.when(4 * MINUTE)
    await story.at.workshop.ask(
        choosing,
        {
            "questions": [
                {
                    "id": "tone",
                    "isOther": True,
                    "header": "Tone",
                    "question": "How shall the newsletter sound?",
                    "options": [
                        {"label": "Warm", "description": "As the last one did."},
                        {"label": "Short", "description": "Three lines and a link."},
                    ],
                }
            ]
        },
        USER_INPUT,
    )
    for number, (words, priority) in enumerate(
        [
            ("Check all links of the shop", Priority.HIGH),
            ("Describe the API of the till in the manual", Priority.NORMAL),
            ("Delete pictures that no page shows", Priority.LOW),
        ]
    ):
        story.when((8 - number) * MINUTE)
        await story.submit(words, agent_id="openclaw", priority=priority)


async def tell_of_a_fleet(at: Reception) -> dict[str, str]:
    """Three hosts, of which two are to be there: `attic` has a turn in hand, and is away. The ids
    of what is worth looking at, and the numbers of the hosts' locks, by name."""
    story = Story(at)
    ids: dict[str, str] = {}
    story.when(50 * MINUTE)
    ids["attic"] = str(enrolled(at.book, "attic", codex="0.161.0", release="0.2.9"))
    lost = ids["lost"] = await story.submit("Sort the pictures of the catalogue", agent_id="hermes")
    await story.start(lost, host="attic")
    follow_up = Task(
        operation_type=OperationType.SEND_MESSAGE,
        message="And the pictures of the newsletter",
        thread_id="thread-1",
    )
    ids["waiting"] = (await at.desk.submit(follow_up)).operation_id
    story.when(0)
    for name in ("atelier", "studio"):
        ids[name] = str(enrolled(at.book, name, capacity=8))
    for host, ago, words in (
        ("studio", 40, "Move the price list to the new format"),
        ("atelier", 12, "Round taxes in one place"),
        ("studio", 3, "Check all links of the shop"),
    ):
        story.when(ago * MINUTE)
        id_ = await story.submit(words, agent_id="claude-code")
        await story.start(id_, host=host)
        if ago == 40:
            story.when(30 * MINUTE)
            await story.end(id_, "The price list is moved.")
    story.when(MINUTE)
    await story.submit("Describe the API of the till in the manual")
    story.when(0)
    return ids
