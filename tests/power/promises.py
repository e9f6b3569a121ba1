"""What must be true of a book that is opened again, given what had been promised before."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.model.ids import Generation, OperationId, ProjectId, new_operation_id
from codex_control_plane_mcp.model.operation import FINAL, Operation, Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat, Submission, TurnOptions
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import operations, queue, workers
from codex_control_plane_mcp.store.book import Book, Reading, Writing, opened
from tests.power.contents import EMPTY, Contents, read_contents

_Row: TypeAlias = Mapping[str, object]

#: The newcomer of `_goes_on` may start, whatever runs.
_WIDE: Final = Limits(everywhere=1000, per_project=1000)


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept."""

    promise: str
    what: str


@dataclass
class Promised:
    """What had been said by a certain moment, and what the book held at each commit."""

    snapshots: Sequence[Contents]
    #: How many commits had returned.
    commits: int = 0
    #: `told` (id, status, sequence), `asking` (message id), `accepted` (id) and so on.
    said: list[list[object]] = field(default_factory=list)

    def take(self, mark: str) -> None:
        words: list[object] = json.loads(mark)
        match words:
            case ["committed", int(number)]:
                self.commits = number
            case _:
                self.said.append(words)

    @property
    def held(self) -> Contents:
        """What the book held when the last commit returned."""
        return self.snapshots[self.commits - 1] if self.commits else EMPTY


def check(where: Path, promised: Promised, *, go_on: bool = True) -> list[Breach]:
    """Open the book as the next worker would, hold it against what was promised, and let that
    worker enter; with `go_on` it also takes over what was left, and takes in and starts a task."""
    try:
        with opened(where, threads=False) as book:
            found = book.read_now(read_contents)
            breaches = [
                *_is_sound(book),
                *_is_a_moment_of_the_life(found, promised),
                *_has_what_was_committed(found, promised.held),
                *_has_what_was_said(found, promised.said),
                *_journals_are_whole(found),
            ]
            if not breaches:
                generation, _ = book.write_now(lambda new: workers.enter(new, "next", 1, "0"))
                breaches += _goes_on(book, generation, found) if go_on else ()
            return breaches
    except (ControlPlaneError, SQLAlchemyError) as error:
        return [Breach("I2", f"the book cannot be opened or used: {error}")]


def _is_sound(book: Book) -> Iterator[Breach]:
    """Pages, indexes, NOT NULL and every CHECK; and no row refers to one that is not there."""

    def look(reading: Reading) -> list[str]:
        sound = reading.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        orphans = reading.exec_driver_sql("PRAGMA foreign_key_check").all()
        return [*(one for one in sound if one != "ok"), *map(str, orphans)]

    for trouble in book.read_now(look):
        yield Breach("the file", trouble)


def _is_a_moment_of_the_life(found: Contents, promised: Promised) -> Iterator[Breach]:
    """Not merely enough of it: to the letter what the book was after some commit, that one or a
    later one."""
    moments = [EMPTY, *promised.snapshots]
    if found != promised.held and found not in moments[promised.commits :]:
        when = "an earlier moment" if found in moments else "no moment at all"
        yield Breach("I2", f"{promised.commits} commits had returned; this is {when}")


def _has_what_was_committed(found: Contents, held: Contents) -> Iterator[Breach]:
    present = _by_id(found, "operations")
    for row in held["operations"]:
        now = present.get(row["id"])
        if now is None:
            yield Breach("I2", f"{row['id']} is not there")
        elif _int(now["last_seq"]) < _int(row["last_seq"]):
            yield Breach("I2", f"{row['id']} was at {row['last_seq']}, is at {now['last_seq']}")
        elif row["status"] in FINAL and now != row:
            yield Breach("I3", f"{row['id']} had ended {row['status']} and is another")
    asked = _by_id(found, "interactions")
    for row in held["interactions"]:
        now = asked.get(row["id"])
        if now is None or (row["closed_at"] is not None and now != row):
            yield Breach("I4", f"{row['id']} was {row['status']} and is another")


def _has_what_was_said(found: Contents, said: Sequence[Sequence[object]]) -> Iterator[Breach]:
    present = _by_id(found, "operations")
    for words in said:
        match words:
            case ["told", str(id_), str(status), int(seq)]:
                now = present.get(id_)
                if now is None or _int(now["last_seq"]) < seq:
                    yield Breach("I2", f"a client was told of {id_} at {seq}")
                elif status in FINAL and now["status"] != status:
                    yield Breach("I3", f"a client was told that {id_} is {status}")
            case ["accepted", str(id_)] if id_ not in present:
                yield Breach("I2", f"{id_} was accepted and is not there")
            case ["answered", str(id_)] if not _is_answered(found, id_):
                yield Breach("I4", f"the answer to {id_} was accepted and is not there")
            case ["cancelled", str(id_)] if present.get(id_, {}).get("status") not in FINAL:
                yield Breach("I2", f"{id_} had been cancelled")
            case ["asking", str(message_id)]:
                id_, _, attempt = message_id.partition(".")
                intended = present.get(id_, {}).get("intent_attempt")
                if intended is None or _int(intended) < int(attempt):
                    yield Breach("I1", f"Codex was asked {message_id}, which is not on record")
            case ["answering", int(request_id)] if not _was_about_to(found, request_id):
                yield Breach("I4", f"request {request_id} was answered, which is not on record")
            case ["interrupting", str(turn_id)] if not _was_to_end(found, turn_id):
                yield Breach("I4", f"{turn_id} was interrupted, and nobody wished it")
            case _:
                pass


def _is_answered(found: Contents, interaction_id: str) -> bool:
    return any(wish["interaction_id"] == interaction_id for wish in found["wishes"])


def _was_about_to(found: Contents, request_id: int) -> bool:
    asked = {one["id"] for one in found["interactions"] if one["request_id"] == str(request_id)}
    return any(
        wish["interaction_id"] in asked and wish["sent_at"] is not None for wish in found["wishes"]
    )


def _was_to_end(found: Contents, turn_id: str) -> bool:
    meant = {one["id"] for one in found["operations"] if one["turn_id"] == turn_id}
    return any(
        wish["operation_id"] in meant and wish["kind"] == "cancel" for wish in found["wishes"]
    )


def _journals_are_whole(found: Contents) -> Iterator[Breach]:
    written: dict[object, list[object]] = {}
    for entry in found["journal"]:
        written.setdefault(entry["operation_id"], []).append(entry["seq"])
    for row in found["operations"]:
        if written.pop(row["id"], []) != list(range(1, _int(row["last_seq"]) + 1)):
            yield Breach("I8", f"the journal of {row['id']} has a gap or a repeat")
    for id_ in written:
        yield Breach("I8", f"a journal of {id_}, which is not there")


# --- The next generation ------------------------------------------------------------------------


def _goes_on(book: Book, generation: Generation, found: Contents) -> Iterator[Breach]:
    """It takes over what was left, and a new task is taken in and started."""
    adopted, _ = book.write_now(lambda writing: operations.adopt(writing, generation))
    newcomer, _ = book.write_now(_submit)
    book.write_now(lambda writing: queue.claim(writing, generation, _WIDE))
    after = book.read_now(read_contents)
    left = {row["id"] for row in found["operations"] if row["status"] not in FINAL}
    queued = {row["id"] for row in found["operations"] if row["status"] == Status.QUEUED}
    if {one.id for one in adopted} != left - queued:
        yield Breach("I5", "the next generation did not take over what was left")
    if _by_id(after, "operations")[newcomer.id]["status"] != Status.STARTING_THREAD:
        yield Breach("I5", "a new task was not started")
    yield from _journals_are_whole(after)
    yield from _has_what_was_committed(after, found)


def _submit(writing: Writing) -> Operation:
    options = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
    request = StartChat(
        message="Go on.", cwd="/next", project_id=ProjectId("next"), options=options
    )
    operation_id: OperationId = new_operation_id(writing.now)
    return operations.insert_operation(writing, operation_id, Submission(request))


def _by_id(contents: Contents, table: str) -> dict[object, _Row]:
    return {row["id"]: row for row in contents[table]}


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
