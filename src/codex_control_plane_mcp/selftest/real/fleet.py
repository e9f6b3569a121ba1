"""Clients at work: operations are submitted, answered and followed to their end, many at once.

What clients were told is kept, for it must still be true at the end.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import anyio

from codex_control_plane_mcp.model.operation import FINAL
from codex_control_plane_mcp.selftest.real.client import Client, Refused, Result, Unanswered
from codex_control_plane_mcp.selftest.real.stage import Stage
from codex_control_plane_mcp.selftest.real.tasks import UNDISTURBED, Kind, Task, steer_of, task_of

#: How long one look at an operation waits for a change.
LOOK_SECONDS = 20
_FINAL = frozenset(status.value for status in FINAL)


class Happening(StrEnum):
    """Moments in the life of an operation that a kill may follow."""

    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    WAITING_FOR_APPROVAL = "waiting for approval"
    ANSWERING = "answering"
    STEERING = "steering"
    #: What was held goes on, so the report is about to be written.
    RELEASED = "released"


class Bulletin:
    """Tells whoever waits that something happens now."""

    def __init__(self) -> None:
        self._events: dict[Happening, anyio.Event] = {one: anyio.Event() for one in Happening}

    def tell(self, happening: Happening) -> None:
        self._events[happening].set()
        self._events[happening] = anyio.Event()

    async def next(self, happening: Happening) -> None:
        await self._events[happening].wait()


@dataclass
class Followed:
    """One operation, as its client knows it."""

    task: Task
    #: What it was submitted with, beside its prompt and key.
    arguments: Mapping[str, object]
    #: Given once it was acknowledged; by repeated calls, all that were given.
    operation_ids: set[str] = field(default_factory=set)
    #: Every end that a client was shown: status and report. They must all be the same.
    ends: set[tuple[str, str | None]] = field(default_factory=set)
    #: The operation that steers it.
    steered_by: "Followed | None" = None
    #: Why it was not taken.
    refused: str | None = None
    #: The answers that were given to its approval.
    decisions: set[str] = field(default_factory=set)

    @property
    def operation_id(self) -> str | None:
        return min(self.operation_ids, default=None)


class Fleet:
    """Everything the clients do."""

    def __init__(self, stage: Stage, clients: list[Client], seed: int) -> None:
        self._stage = stage
        self._clients = clients
        self._seed = seed
        self._numbers = itertools.count(1)
        self.bulletin = Bulletin()
        self.followed: list[Followed] = []
        #: Calls that were never answered.
        self.unanswered: list[str] = []
        self.is_ending = False

    async def undisturbed(self) -> None:
        """One operation of each kind, side by side; raises when one does not end as it should."""
        async with anyio.create_task_group() as tasks:
            for _ in range(UNDISTURBED):
                tasks.start_soon(self._one, task_of(self._seed, next(self._numbers)), None)

    async def work(self, slot: int) -> None:
        """One operation after the other, until the end is wished."""
        thread_id: str | None = None
        del slot
        while not self.is_ending:
            task = task_of(self._seed, next(self._numbers))
            thread_id = await self._one(task, thread_id if task.goes_on else None)

    async def look_again(self) -> None:
        """Have every end shown once more: it must be what it was."""
        for one in self.followed:
            if one.operation_id is not None:
                await self._status(one, self._client(one.task), 0)

    async def repeat_all(self) -> None:
        """Say every submission again with its key: nothing new may come of it."""
        for one in self.followed:
            if one.operation_id is not None:
                await self._submit(one)

    async def _one(self, task: Task, thread_id: str | None) -> str | None:
        """One operation to its end; its thread."""
        where: Mapping[str, object] = (
            {"operation_type": "start_chat", "cwd": str(self._stage.project)}
            if thread_id is None
            else {"operation_type": "send_message", "thread_id": thread_id}
        )
        one = Followed(task, {**where, "collaboration_mode": task.mode})
        self.followed.append(one)
        view: Result = {"threadId": None, "turnId": None}
        with self._noted(one):
            await self._submit(one)
            view = await self._follow(one)
        found: str | None = view["threadId"]
        return found if view["turnId"] else None

    @contextmanager
    def _noted(self, one: Followed) -> Iterator[None]:
        """What goes wrong with one operation is kept, and ends no other one."""
        try:
            yield
        except Refused as error:
            one.refused = str(error)
        except Unanswered as error:
            self.unanswered.append(f"{one.task.key}: {error}")
        except ExceptionGroup as group:
            for single in group.exceptions:
                with self._noted(one):
                    raise single from None

    async def _submit(self, one: Followed) -> None:
        task = one.task
        self.bulletin.tell(Happening.SUBMITTING)
        receipt = await self._client(task).call(
            "codex_submit_task",
            message=task.prompt(self._stage.effects),
            client_request_id=task.key,
            **one.arguments,
        )
        one.operation_ids.add(receipt["operationId"])
        self.bulletin.tell(Happening.SUBMITTED)

    def _client(self, task: Task) -> Client:
        return self._clients[task.number % len(self._clients)]

    # Following

    async def _follow(self, one: Followed) -> Result:
        client = self._client(one.task)
        async with anyio.create_task_group() as tasks:
            if one.task.is_held:
                tasks.start_soon(self._open_door, one)
            view = await self._status(one, client, None)
            while view["status"] not in _FINAL:
                if view["status"] == "waiting_for_approval" and not one.decisions:
                    self.bulletin.tell(Happening.WAITING_FOR_APPROVAL)
                    await anyio.sleep(one.task.patience_seconds)
                if view["status"] == "waiting_for_approval":
                    await self._answer(one, client)
                view = await self._status(one, client, view["latestSeq"])
            tasks.cancel_scope.cancel()
        self._stage.model.release(one.task.hold)
        return view

    async def _status(self, one: Followed, client: Client, after_seq: int | None) -> Result:
        wait = {} if after_seq is None else {"wait_seconds": LOOK_SECONDS, "after_seq": after_seq}
        view = await client.call(
            "codex_get_operation_status", operation_id=one.operation_id, **wait
        )
        if view["status"] in _FINAL:
            report = view["finalReport"]
            one.ends.add((view["status"], None if report is None else report["text"]))
        return view

    async def _answer(self, one: Followed, client: Client) -> None:
        """Answer what waits; always the same, however often it must be said."""
        decision = "accept" if one.task.accept else "decline"
        listed = await client.call("codex_list_pending_interactions", operation_id=one.operation_id)
        for question in listed["interactions"]:
            one.decisions.add(decision)
            self.bulletin.tell(Happening.ANSWERING)
            try:
                await client.call(
                    "codex_answer_pending_interaction",
                    interaction_id=question["interactionId"],
                    decision=decision,
                )
            except Refused as error:
                # It was answered by an earlier call, or its turn is gone.
                if not error.code.startswith("CODEX_PENDING_INTERACTION"):
                    raise

    # Holding and steering

    async def _open_door(self, one: Followed) -> None:
        await self._stage.model.arrived(one.task.hold)
        if one.task.kind is Kind.STEERED:
            await self._steer(one)
        await anyio.sleep(one.task.patience_seconds)
        self._stage.model.release(one.task.hold)
        self.bulletin.tell(Happening.RELEASED)

    async def _steer(self, one: Followed) -> None:
        client = self._client(one.task)
        view = await self._status(one, client, None)
        while view["turnId"] is None:
            view = await self._status(one, client, view["latestSeq"])
        steering = one.steered_by = Followed(
            steer_of(one.task, next(self._numbers)),
            {
                "operation_type": "steer_turn",
                "thread_id": view["threadId"],
                "expected_turn_id": view["turnId"],
            },
        )
        self.followed.append(steering)
        self.bulletin.tell(Happening.STEERING)
        with self._noted(steering):
            await self._submit(steering)
            view = await self._status(steering, client, None)
            while view["status"] not in _FINAL:
                view = await self._status(steering, client, view["latestSeq"])
