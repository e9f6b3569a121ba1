"""Takes old entries out of the journal and declares where they were, and what hooks told out of
their history.

Only operations that have ended are touched: the journal of a running one is still joined with what
Codex says. Of each the first entries go, and one entry stays in their place that says so, under the
last of their numbers; whoever reads by numbers meets it there. The operation itself, its end, its
report and its idempotency key stay for ever.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.store import hook_history
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.schema import journal, operations

#: What an entry takes on disk beside its text, about.
ENTRY_BYTES = 40
#: What stays where entries were.
GAP_BYTES = ENTRY_BYTES + 40
#: Entries taken out in one transaction: others want to write meanwhile.
AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Old:
    """The first entries of an operation."""

    operation_id: OperationId
    #: The number of the last of them.
    last_seq: int
    #: When the newest of them was written.
    last_at: Moment
    entries: int
    #: What is won by taking them out.
    bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken out, or would be."""

    old: tuple[Old, ...]
    #: Of other people's turns, as hooks told of them.
    hook_events: int
    #: What the journal takes now, or would.
    bytes_left: int

    @property
    def operations(self) -> int:
        """How many had entries taken out."""
        return len(self.old)

    @property
    def entries(self) -> int:
        return sum(one.entries for one in self.old)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.old)


def prune(
    book: Book, *, older_than: Moment | None, keep_bytes: int | None, dry_run: bool = False
) -> Pruned:
    """Take out the entries before a moment, then of the operations that ended first as much as it
    takes for the journal to need no more than `keep_bytes`, as far as that goes."""

    def choose(reading: Connection) -> tuple[list[Old], int, int]:
        told = 0 if older_than is None else hook_history.count_before(reading, older_than)
        return _chosen(reading, older_than, keep_bytes), journal_bytes(reading), told

    old, total, told = book.read_now(choose)
    if not dry_run:
        if older_than is not None:
            told, _ = book.write_now(partial(hook_history.forget_before, moment=older_than))
        for batch in _batches(old):
            book.write_now(partial(_take_out, batch=batch))
    done = Pruned(tuple(old), told, total)
    return replace(done, bytes_left=total - done.bytes)


def journal_bytes(connection: Connection) -> int:
    """What the journal takes on disk, about."""
    return int(connection.scalar(select(func.sum(_BYTES))) or 0)


# --- Choosing ------------------------------------------------------------------------------------


def _chosen(reading: Connection, older_than: Moment | None, keep_bytes: int | None) -> list[Old]:
    old = [] if older_than is None else _before(reading, older_than)
    if keep_bytes is None:
        return old
    excess = journal_bytes(reading) - sum(one.bytes for one in old) - keep_bytes
    return _joined(old, _ended(reading), excess)


def _before(connection: Connection, moment: Moment) -> list[Old]:
    """The entries before a moment, of operations that have ended."""
    query = _OLD.where(operations.c.created_at < moment, journal.c.at < moment)
    return [Old(*row) for row in connection.execute(query)]


def _ended(connection: Connection) -> list[Old]:
    """The whole journals of the operations that have ended, those that ended first at first."""
    query = _OLD.order_by(operations.c.completed_at, operations.c.id)
    return [Old(*row) for row in connection.execute(query)]


def _joined(old: Sequence[Old], whole: Sequence[Old], excess: int) -> list[Old]:
    """`old`, and so many whole journals that `excess` is gone."""
    chosen = {one.operation_id: one for one in old}
    for one in whole:
        if excess <= 0:
            break
        part = chosen.get(one.operation_id)
        excess -= one.bytes - (0 if part is None else part.bytes)
        chosen[one.operation_id] = one
    return list(chosen.values())


def _batches(old: Sequence[Old]) -> Iterator[list[Old]]:
    batch: list[Old] = []
    for one in old:
        batch.append(one)
        if sum(each.entries for each in batch) >= AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


# --- Taking out ----------------------------------------------------------------------------------


def _take_out(writing: Writing, batch: Sequence[Old]) -> None:
    connection = writing.connection
    named = [{"operation": one.operation_id, "last": one.last_seq} for one in batch]
    # A final state never changes, so that what was chosen before may still be taken out.
    connection.execute(_TAKE_OUT, named)
    connection.execute(
        insert(journal),
        [
            {
                "operation_id": one.operation_id,
                "seq": one.last_seq,
                "at": one.last_at,
                "category": Category.GAP.value,
                "text": f"Entries 1 to {one.last_seq} were removed.",
                "item_id": None,
            }
            for one in batch
        ],
    )


_BYTES = func.length(journal.c.text) + ENTRY_BYTES
#: Not where nothing would be won, as with an entry that says that others are gone.
_OLD = (
    select(
        journal.c.operation_id,
        func.max(journal.c.seq),
        func.max(journal.c.at),
        func.count(),
        func.sum(_BYTES) - GAP_BYTES,
    )
    .join(operations, operations.c.id == journal.c.operation_id)
    .where(operations.c.completed_at.is_not(None))
    .group_by(journal.c.operation_id, operations.c.completed_at, operations.c.id)
    .having(func.sum(_BYTES) > GAP_BYTES)
)
_TAKE_OUT = delete(journal).where(
    journal.c.operation_id == bindparam("operation"), journal.c.seq <= bindparam("last")
)
