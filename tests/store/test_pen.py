"""The pen: what is written can be read back, all of it or nothing, and only by its owner."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.model.ids import Generation, OperationId, ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category, Entry, Written
from codex_control_plane_mcp.model.operation import (
    Cancelled,
    Claimed,
    Completed,
    Fact,
    Failed,
    IllegalTransition,
    Interrupted,
    Operation,
    Plan,
    Report,
    Status,
    ThreadBound,
    TokenUsage,
    Trouble,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.request import payload_hash
from codex_control_plane_mcp.store import journal, lookup, operations
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.lookup import Mark
from codex_control_plane_mcp.store.operations import Fenced
from tests.model.lives import (
    ACCEPTED,
    BOUND,
    COMPLETED,
    INTENDED,
    LIFE,
    TROUBLE,
)
from tests.model.strategies import lives
from tests.store.actors import Desk, all_at_once
from tests.store.actors import desk as desk_at

USAGE = TokenUsage(1, 2, 3, 4, 10, 200_000)


def running(desk: Desk) -> Operation:
    return desk.record(desk.submit(), *LIFE[Status.RUNNING])


# --- What is written can be read back ----------------------------------------------------------


def test_what_is_inserted_reads_back_equal(desk: Desk) -> None:
    for thread in (None, "thread-9"):
        operation = desk.submit(
            desk.submission(thread=thread, agent="ann", client_request_id=f"id-{thread}")
        )
        assert desk.get(operation.id) == operation
        assert desk.journal(operation.id) == ["Queued."]


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(life=lives(longest=12), heard=st.booleans(), usage=st.none() | st.just(USAGE))
def test_whatever_happens_to_it_reads_back_equal(
    desk: Desk, life: tuple[Fact, ...], heard: bool, usage: TokenUsage | None
) -> None:
    def work(writing: Writing) -> Operation:
        operation = operations.insert_operation(
            writing, OperationId(f"op-{next(desk._numbers)}"), desk.submission()
        )
        # A thread of its own, or an earlier example's would be in the way.
        for fact in life:
            mine = (
                replace(fact, thread_id=ThreadId(f"thread-of-{operation.id}"))
                if isinstance(fact, ThreadBound)
                else fact
            )
            operation = operations.record(writing, operation, mine, heard=heard, token_usage=usage)
        return operation

    operation = desk.write(work)
    assert desk.get(operation.id) == operation
    assert len(desk.journal(operation.id)) == operation.last_seq == 1 + len(life)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(text=st.text(st.characters(categories=["L", "N", "P", "Z", "S", "Cc", "Cs"])))
def test_any_text_can_be_stored_and_reads_back_with_the_same_length(desk: Desk, text: str) -> None:
    operation = desk.submit()
    failed = desk.write(
        lambda writing: operations.record(
            writing,
            operation,
            Failed(Trouble("CODEX_TIMEOUT", text)),
            entries=[Entry(Category.ASSISTANT, text, "item-1")],
        )
    )
    assert desk.get(operation.id) == failed
    written = desk.read(lambda connection: journal.after(connection, operation.id, 1, 1))[0].text
    lengths = desk.read(lambda connection: journal.written_lengths(connection, operation.id))
    assert lengths == {"item-1": len(written)}
    assert len(written) == len(text)
    assert written == text or not text.isprintable()


def test_a_request_with_any_text_reads_back_to_the_letter(desk: Desk) -> None:
    operation = desk.submit(
        desk.submission("a\x00b \ud800 \N{GRINNING FACE} 'quoted' \\ %s :name {}")
    )
    assert desk.get(operation.id).request == operation.request


def test_the_report_and_the_trouble_read_back_as_they_were_returned(desk: Desk) -> None:
    secret = "Bearer abcdefgh12345678"
    reported = desk.record(
        running(desk),
        Completed(Report(f"Use {secret}.\x00", TurnId("turn-1"), Plan("plan-1", secret + "\x00"))),
    )
    troubled = desk.record(desk.submit(), Failed(Trouble("X", secret)))
    for operation in (reported, troubled):
        assert desk.get(operation.id) == operation
        assert secret not in repr(operation)


# --- State, journal and sequence in one transaction ---------------------------------------------


def test_facts_and_entries_are_numbered_in_the_order_they_happened(desk: Desk) -> None:
    operation = running(desk)
    moved = desk.write(
        lambda writing: operations.record(
            writing,
            operation,
            COMPLETED,
            entries=[Entry(Category.ASSISTANT, "I am done", "item-1"), Entry(Category.TOOL, "ls")],
        )
    )
    assert desk.journal(operation.id)[-3:] == ["I am done", "ls", "Completed."]
    assert moved.last_seq == moved.status_seq == operation.last_seq + 3


def test_status_seq_is_the_entry_that_last_changed_the_status(desk: Desk) -> None:
    operation = desk.record(desk.submit(), Claimed(Generation(1)), BOUND)
    assert operation.status_seq == operation.last_seq == 3
    intended = desk.record(operation, INTENDED)
    assert (intended.last_seq, intended.status_seq) == (4, 3)


def test_signs_of_life_are_stored_without_a_line_in_the_journal(desk: Desk) -> None:
    operation = running(desk)
    desk.clock.move(5)
    heard = desk.write(
        lambda writing: operations.record(writing, operation, heard=True, token_usage=USAGE)
    )
    assert heard.heard_at == desk.clock.now()
    assert heard.token_usage == USAGE
    assert heard.last_seq == operation.last_seq
    assert desk.get(operation.id) == heard


def test_a_transaction_that_fails_leaves_nothing(desk: Desk) -> None:
    operation = running(desk)
    before = desk.journal(operation.id)

    def work(writing: Writing) -> None:
        operations.record(writing, operation, COMPLETED)
        operations.insert_operation(writing, OperationId("op-never"), desk.submission())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        desk.write(work)
    assert desk.get(operation.id) == operation
    assert desk.journal(operation.id) == before
    assert desk.count("operations") == 1


def test_a_journal_that_cannot_be_written_takes_the_state_back_with_it(desk: Desk) -> None:
    operation = running(desk)
    desk.sql(
        "INSERT INTO journal (operation_id, seq, at, category, text) "
        "VALUES (:id, :seq, 0, 'state', '')",
        id=operation.id,
        seq=operation.last_seq + 1,
    )
    with pytest.raises(IntegrityError):
        desk.record(operation, COMPLETED)
    assert desk.get(operation.id) == operation


def test_a_fact_that_the_table_forbids_writes_nothing(desk: Desk) -> None:
    operation = desk.submit()
    with pytest.raises(IllegalTransition):
        desk.record(operation, Claimed(Generation(1)), COMPLETED)
    assert desk.get(operation.id) == operation
    assert desk.journal(operation.id) == ["Queued."]


# --- The fence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stale",
    [
        lambda operation: replace(operation, generation=Generation(operation.generation - 1)),
        lambda operation: replace(operation, generation=Generation(operation.generation + 1)),
        lambda operation: replace(operation, last_seq=operation.last_seq - 1),
        lambda operation: replace(operation, status=Status.WAITING_FOR_APPROVAL),
        lambda operation: replace(operation, id=OperationId("op-unknown")),
    ],
    ids=["older generation", "foreign generation", "stale last_seq", "stale status", "unknown id"],
)
def test_whoever_saw_another_row_is_fenced_off_and_writes_nothing(
    desk: Desk, stale: Callable[[Operation], Operation]
) -> None:
    operation = running(desk)
    before = desk.journal(operation.id)
    with pytest.raises(Fenced):
        desk.write(
            lambda writing: operations.record(
                writing, stale(operation), COMPLETED, entries=[Entry(Category.ASSISTANT, "Hello")]
            )
        )
    assert desk.get(operation.id) == operation
    assert desk.journal(operation.id) == before


def test_of_two_who_saw_the_same_row_one_writes_and_one_is_fenced_off(desk: Desk) -> None:
    operation = running(desk)
    desk.record(operation, COMPLETED)
    with pytest.raises(Fenced):
        desk.record(operation, Interrupted())
    assert desk.get(operation.id).status is Status.COMPLETED


def test_a_final_row_is_refused_to_those_who_still_think_it_runs(desk: Desk) -> None:
    queued = desk.submit()
    cancelled = desk.record(queued, Cancelled())
    with pytest.raises(Fenced):
        desk.record(queued, Claimed(Generation(1)))
    with pytest.raises(IllegalTransition):
        desk.record(cancelled, Claimed(Generation(1)))
    assert desk.get(queued.id) == cancelled


def test_who_adopts_an_operation_fences_off_the_former_worker(desk: Desk) -> None:
    former = desk.enter()
    operation = desk.record(desk.submit(), Claimed(former), BOUND, INTENDED, ACCEPTED)
    ended = desk.record(desk.submit(), Failed(TROUBLE))
    waiting = desk.submit()
    successor = desk.enter()
    adopted = desk.write(lambda writing: operations.adopt(writing, successor))
    assert [one.id for one in adopted] == [operation.id]
    assert adopted[0].generation == successor
    assert adopted[0].status is operation.status
    assert desk.get(operation.id) == adopted[0]
    with pytest.raises(Fenced):
        desk.record(operation, COMPLETED)
    assert desk.record(adopted[0], COMPLETED).status is Status.COMPLETED
    for untouched in (ended, waiting):
        assert desk.get(untouched.id) == untouched


def test_what_is_adopted_is_not_adopted_again(desk: Desk) -> None:
    first = desk.enter()
    desk.record(desk.submit(), Claimed(first))
    second = desk.enter()
    assert len(desk.write(lambda writing: operations.adopt(writing, second))) == 1
    assert desk.write(lambda writing: operations.adopt(writing, second)) == []


def test_who_does_not_own_the_book_any_more_adopts_nothing(desk: Desk) -> None:
    first, second = desk.enter(), desk.enter()
    operation = desk.record(desk.submit(), Claimed(first))
    with pytest.raises(Fenced):
        desk.write(lambda writing: operations.adopt(writing, first))
    assert desk.get(operation.id).generation == first
    assert second > first


# --- The journal under many hands ---------------------------------------------------------------


def test_journal_numbers_have_no_gap_and_no_repeat_under_many_writers(desk: Desk) -> None:
    operation = running(desk)
    writers, lines = 6, 8
    refused = threading.Semaphore(0)

    def work(number: int) -> None:
        with desk_at(desk.where) as mine:
            for line in range(lines):
                while True:
                    seen = mine.get(operation.id)
                    entry = Entry(Category.ASSISTANT, f"{number}:{line}")
                    try:
                        mine.write(
                            lambda writing, seen=seen, entry=entry: operations.record(  # type: ignore[misc]
                                writing, seen, entries=[entry]
                            )
                        )
                    except Fenced:
                        refused.release()
                    else:
                        break

    all_at_once(writers, work)
    said = desk.journal(operation.id)[operation.last_seq :]
    assert sorted(said) == sorted(f"{n}:{line}" for n in range(writers) for line in range(lines))
    assert desk.get(operation.id).last_seq == operation.last_seq + writers * lines
    for number in range(writers):
        mine = [line for line in said if line.startswith(f"{number}:")]
        assert mine == [f"{number}:{line}" for line in range(lines)]


def test_the_journal_is_read_in_pieces_from_either_end(desk: Desk) -> None:
    operation = desk.submit()
    entries = [Entry(Category.ASSISTANT, str(number)) for number in range(2, 8)]
    desk.write(lambda writing: operations.record(writing, operation, entries=entries))

    def numbers(read: Callable[..., list[Written]], *args: object) -> list[int]:
        return [e.seq for e in desk.read(lambda connection: read(connection, operation.id, *args))]

    assert numbers(journal.after, 0, 3) == [1, 2, 3]
    assert numbers(journal.after, 3, 3) == [4, 5, 6]
    assert numbers(journal.after, 7, 3) == []
    assert numbers(journal.newest, 2) == [6, 7]
    assert numbers(journal.newest, 2, Category.STATE) == [1]
    without = desk.read(
        lambda connection: journal.newest(connection, operation.id, 3, without=Category.ASSISTANT)
    )
    assert [entry.text for entry in without] == ["Queued."]


# --- Looking things up ----------------------------------------------------------------------------


def test_operations_are_found_by_what_names_them(desk: Desk) -> None:
    submission = desk.submission(client_request_id="mine", thread="thread-1")
    operation = desk.record(
        desk.submit(submission), Claimed(Generation(1)), BOUND, INTENDED, ACCEPTED
    )
    desk.clock.move(1)
    later_one = desk.submit(desk.submission(thread="thread-1"))
    thread, turn = ThreadId("thread-1"), TurnId("turn-1")

    def found(connection: Connection) -> None:
        assert lookup.by_client_request(connection, "mine") == (
            operation,
            payload_hash(submission),
        )
        assert lookup.by_client_request(connection, "yours") is None
        assert lookup.by_turn(connection, thread, turn) == operation
        assert lookup.by_turn(connection, thread, TurnId("turn-2")) is None
        assert lookup.newest_in_thread(connection, thread) == later_one
        assert lookup.newest_in_thread(connection, ThreadId("no")) is None
        assert lookup.get(connection, OperationId("no")) is None
        ids = [later_one.id, OperationId("no"), operation.id]
        assert lookup.many(connection, ids) == [later_one, operation]
        assert lookup.marks(connection, ids, desk.clock.now()) == {
            later_one.id: Mark(Status.QUEUED, 1, 1),
            operation.id: Mark(Status.RUNNING, operation.last_seq, operation.status_seq),
        }
        assert lookup.unfinished(connection) == [operation, later_one]

    desk.read(found)


def test_a_turn_is_found_by_the_operation_that_started_it_not_by_those_that_steered_it(
    desk: Desk,
) -> None:
    operation = running(desk)
    desk.clock.move(1)
    steered = desk.record(desk.submit(desk.steering("Faster.")), *LIFE[Status.RUNNING])
    assert steered.turn_id == operation.turn_id
    found = desk.read(lambda c: lookup.by_turn(c, BOUND.thread_id, ACCEPTED.turn_id))
    assert found == operation


def test_the_newest_troubles_and_the_projects_are_listed(desk: Desk) -> None:
    for project in ("house", "garden", "house"):
        desk.clock.move(1)
        desk.record(
            desk.submit(desk.submission(project=project)), Failed(Trouble("CODEX_TIMEOUT", project))
        )
    troubles = desk.read(lambda connection: lookup.recent_troubles(connection, 2))
    assert [one.trouble and one.trouble.message for one in troubles] == ["house", "garden"]
    assert desk.read(lookup.projects) == [
        (ProjectId("house"), "/work/house", desk.clock.now()),
        (ProjectId("garden"), "/work/garden", desk.clock.now() - 1000),
    ]


def test_the_turn_and_the_intent_of_each_attempt_are_on_record(desk: Desk) -> None:
    operation = desk.record(desk.submit(), Claimed(Generation(1)), BOUND)
    first = desk.record(operation, TurnIntended(None))
    second = desk.record(first, TurnIntended(TurnId("turn-0")))
    assert desk.get(operation.id).intent == second.intent
    accepted = desk.record(second, TurnAccepted(TurnId("turn-7"), "found in the thread"))
    assert desk.get(operation.id).turn_id == accepted.turn_id == TurnId("turn-7")
    assert "found in the thread" in desk.journal(operation.id)[-1]


def test_operations_are_listed_page_by_page_those_submitted_last_first(desk: Desk) -> None:
    ids = []
    for number in range(5):
        desk.clock.move(1)
        ids.append(desk.submit(desk.submission(thread=f"t-{number % 2}")).id)

    def page(**more: object) -> list[OperationId]:
        found = desk.read(lambda c: lookup.newest(c, 2, **more))  # type: ignore[arg-type]
        return [one.id for one in found]

    assert page() == [ids[4], ids[3]]
    assert page(before=ids[3]) == [ids[2], ids[1]]
    assert page(thread_id=ThreadId("t-0")) == [ids[4], ids[2]]
    assert page(thread_id=ThreadId("t-0"), before=ids[2]) == [ids[0]]
