"""What hooks leave in the folder comes into the book: a person's turns, and none of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.journal_hook import MAX_BYTES
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    Generation,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
    new_operation_id,
)
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Fact,
    Policy,
    Report,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    CustomTarget,
    Review,
    StartChat,
    SteerTurn,
    Submission,
    TaskRequest,
    TurnOptions,
)
from codex_control_plane_mcp.store import hook_history, lookup, operations
from codex_control_plane_mcp.store.book import Book, Writing, opened
from codex_control_plane_mcp.work.hook_history import AT_ONCE, HookHistory

pytestmark = pytest.mark.anyio

NOON = Moment(1_800_000_000_000)
OPTIONS = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
CHAT = StartChat("Ours.", "/work", ProjectId("p"), OPTIONS)
REVIEW = Review(CustomTarget("Look."), "/work", ProjectId("p"), OPTIONS, thread_id=ThreadId("t-1"))
STEER = SteerTurn("Go on.", ThreadId("t-1"), TurnId("u-1"), "/work", ProjectId("p"))

TOLD = b'{"session_id": "t", "cwd": "/", "hook_event_name": %s}'

BOUND = ThreadBound(
    ThreadId("t-1"), AppServerId("1@2"), Policy("read-only", "on-request", "gpt-test")
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class At:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> Moment:
        return self.moment


class Place:
    """A book, the folder beside it, and what hooks and workers do to them."""

    def __init__(self, book: Book, clock: At, folder: Path) -> None:
        self.book, self.clock = book, clock
        self.spool = folder / "s.hooks"
        self.history = HookHistory(book, self.spool, 1000)
        self._count = 0

    def told(self, event: str, turn: str | None = "u-1", **more: Any) -> Path:
        """Codex ran the hook, now."""
        texts = {"SessionStart": "source", "UserPromptSubmit": "prompt"}
        field = texts.get(event, "last_assistant_message")
        said = {"hook_event_name": event, "session_id": "t-1", "cwd": "/work", field: "Theirs."}
        return self.raw(json.dumps(said | ({"turn_id": turn} if turn else {}) | more).encode())

    def raw(self, told: bytes, suffix: str = ".json") -> Path:
        self._count += 1
        self.spool.mkdir(exist_ok=True)
        nanoseconds = self.clock.moment * 1_000_000 + self._count
        file = self.spool / f"{nanoseconds:020d}-{self._count:08x}{suffix}"
        file.write_bytes(told)
        return file

    async def operation(self, request: TaskRequest, *facts: Fact) -> OperationId:
        def write(writing: Writing) -> OperationId:
            id_ = new_operation_id(writing.now)
            operation = operations.insert_operation(writing, id_, Submission(request))
            operations.record(writing, operation, *facts)
            return id_

        return await self.book.write(write)

    async def record(self, id_: OperationId, *facts: Fact) -> None:
        def write(writing: Writing) -> None:
            operation = lookup.get(writing.connection, id_)
            assert operation is not None
            operations.record(writing, operation, *facts)

        await self.book.write(write)

    async def taken(self) -> list[tuple[str, str]]:
        """Look once; everything that the book then has."""
        while await self.history.look():
            pass
        kept = await self.book.read(lambda reading: hook_history.after(reading, 0, 1000))
        return [(one.event.kind.value, one.event.text) for one in kept]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    clock = At()
    with opened(tmp_path / "s", clock=clock) as book:
        yield Place(book, clock, tmp_path)


async def test_a_persons_turn_is_taken_in_with_when_and_where(place: Place) -> None:
    place.told("SessionStart", turn=None, source="startup", model="gpt")
    place.told("UserPromptSubmit", prompt="Mend the till.")
    place.told("Stop", last_assistant_message="Mended.")

    assert await place.taken() == [
        ("session", "startup"),
        ("prompt", "Mend the till."),
        ("answer", "Mended."),
    ]
    assert list(place.spool.iterdir()) == []
    first, second, _ = await place.book.read(lambda reading: hook_history.after(reading, 0, 9))
    assert (first.event.model, first.event.turn_id) == ("gpt", None)
    assert (second.event.thread_id, second.event.turn_id, second.event.cwd) == (
        *("t-1", "u-1"),
        "/work",
    )
    assert second.event.at == NOON


async def test_without_a_folder_there_is_nothing(place: Place) -> None:
    assert await place.taken() == []


async def test_what_a_crash_left_is_not_taken_in_twice(place: Place) -> None:
    file = place.told("Stop")
    told = file.read_bytes()
    await place.taken()
    file.write_bytes(told)
    assert len(await place.taken()) == 1
    assert not file.exists()


async def test_more_than_fits_a_commit_comes_in_order(place: Place) -> None:
    for number in range(AT_ONCE + 5):
        place.told("UserPromptSubmit", prompt=f"{number}")
    assert [text for _, text in await place.taken()] == [str(n) for n in range(AT_ONCE + 5)]


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"no json",
        b"[]",
        b"5",
        b"[" * 100_000,
        b'{"hook_event_name": "Stop"}',
        b'{"hook_event_name": "Stop", "session_id": 5, "cwd": "/"}',
        TOLD % b'"PreToolUse", "turn_id": "u"',
        TOLD % b'"Stop", "turn_id": "u", "last_assistant_message": null',
        TOLD % b'"UserPromptSubmit", "prompt": "x"',
        TOLD % b'"UserPromptSubmit", "turn_id": "u", "prompt": "x", "agent_id": "sub"',
        b"x" * (MAX_BYTES + 1),
    ],
)
async def test_what_is_nothing_to_us_is_thrown_away(told: bytes, place: Place) -> None:
    file = place.raw(told)
    assert await place.taken() == []
    assert not file.exists()


async def test_what_is_still_being_written_is_left_and_what_never_ends_is_not(
    place: Place,
) -> None:
    fresh, stale = place.raw(b"half", ".part"), place.raw(b"half", ".part")
    os.utime(stale, (1, 1))
    other = place.spool / "notes.txt"
    other.touch()
    await place.taken()
    assert (fresh.exists(), stale.exists(), other.exists()) == (True, False, True)


async def test_switched_off_it_is_thrown_away(place: Place) -> None:
    file = place.told("Stop")
    off = HookHistory(place.book, place.spool, 1000, enabled=False)
    assert await off.look() is False
    assert not file.exists()
    assert await place.taken() == []


# --- Whose turn it is ----------------------------------------------------------------------------


async def test_our_turn_is_left_out_from_its_first_moment_on(place: Place) -> None:
    id_ = await place.operation(CHAT, Claimed(Generation(1)), BOUND, TurnIntended(None))
    place.told("SessionStart", turn=None, source="startup")
    place.told("UserPromptSubmit", prompt="Ours.")
    assert await place.taken() == []

    await place.record(id_, TurnAccepted(TurnId("u-1")))
    place.told("Stop")
    await place.record(id_, Completed(Report("Done.", TurnId("u-1"))))
    place.clock.moment = later(NOON, 60)
    place.told("Stop")
    assert await place.taken() == []


async def test_a_person_who_goes_on_in_our_thread_is_heard(place: Place) -> None:
    accepted = TurnAccepted(TurnId("u-1"))
    await place.operation(CHAT, Claimed(Generation(1)), BOUND, TurnIntended(None), accepted)
    # Also while the worker is down, and the end of our turn is not on record yet.
    place.told("UserPromptSubmit", turn="u-2")
    assert await place.taken() == [("prompt", "Theirs.")]


async def test_a_review_runs_in_a_child_of_its_turn(place: Place) -> None:
    id_ = await place.operation(
        *(REVIEW, Claimed(Generation(1)), BOUND, TurnIntended(None)),
        TurnAccepted(TurnId("u-1")),
    )
    place.told("UserPromptSubmit", turn="u-child")
    assert await place.taken() == []
    place.clock.moment = later(NOON, 60)
    await place.record(id_, Completed(Report("Fine.", TurnId("u-1"))))
    place.clock.moment = later(NOON, 120)
    place.told("UserPromptSubmit", turn="u-2")
    assert await place.taken() == [("prompt", "Theirs.")]


async def test_our_words_in_a_persons_turn_are_not_theirs(place: Place) -> None:
    await place.operation(
        *(STEER, Claimed(Generation(1)), BOUND, TurnIntended(None)),
        TurnAccepted(TurnId("u-1")),
    )
    place.told("UserPromptSubmit", prompt="Theirs.")
    place.told("UserPromptSubmit", prompt="Go on.")
    place.told("Stop", last_assistant_message="Mended.")
    assert await place.taken() == [("prompt", "Theirs."), ("answer", "Mended.")]


async def test_it_goes_on_looking(place: Place) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place.history.run)
        file = place.told("Stop")
        with anyio.fail_after(30):
            while file.exists():  # noqa: ASYNC110  # a file does not say when it goes
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert await place.taken() == [("answer", "Theirs.")]
