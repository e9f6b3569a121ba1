"""A host that is gone for good is forgotten: nothing waits for it, and nobody is shown it."""

import os
import uuid
from dataclasses import replace

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import HostId, OperationId
from codex_control_plane_mcp.model.operation import ACTIVE, Operation
from codex_control_plane_mcp.model.repair import Outcome
from codex_control_plane_mcp.store import hosts, lookup, notices, operations, repairs, workers
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.work.requeue import give_up

#: A message names as many tasks.
NAMED = 5


async def forget(book: Book, name: str, by: str, *, force: bool) -> list[OperationId]:
    """Returns what has ended with it, which nothing has without `force`.

    Raises InvalidArgument where there is no such host, where it is connected, and without `force`
    where it has something in hand or something waits for it alone.
    """
    return await book.write(lambda writing: _forget(writing, book, name, by, force=force))


def _forget(writing: Writing, book: Book, name: str, by: str, *, force: bool) -> list[OperationId]:
    known = {one.id: one for one in hosts.every(writing.connection)}
    host = known.get(HostId(name))
    if host is None:
        raise InvalidArgument(
            f"no host of the fleet is called {name!r}; there are: {', '.join(known) or 'none yet'}"
        )
    if not hosts.stand_in(writing, host.number):
        raise InvalidArgument(
            f"{name} is connected; end its worker there first: codex-control-plane-mcp-admin stop"
        )
    # Who owned what is there is fenced off, as by a next worker. What it was about to claim is
    # claimed by now, and seen; nothing more is.
    there = replace(writing, host=host.id)
    workers.leave(there, workers.enter(there, uuid.uuid4().hex, os.getpid(), __version__))
    left = operations.held(writing, lookup.of_host(writing.connection, host.id))
    if left and not force:
        raise InvalidArgument(_what_to_do(name, left))
    why = f"{by} had the fleet forget its host {name}"
    for operation in left:
        give_up(writing, book, operation, why)
    for run in repairs.open_runs(writing.connection, host.id):
        repairs.conclude(writing, run.id, Outcome.UNKNOWN, (), why)
    notices.give_up(writing, host.id, why)
    hosts.forget(writing, host.id)
    return [operation.id for operation in left]


def _what_to_do(name: str, left: list[Operation]) -> str:
    in_hand = [one.id for one in left if one.status in ACTIVE]
    waiting = [one.id for one in left if one.status not in ACTIVE]
    words = []
    if in_hand:
        words.append(
            f"{name} has in hand {_listed(in_hand)} (`requeue` has a new chat done elsewhere)"
        )
    if waiting:
        words.append(f"for {name} alone waits {_listed(waiting)} (`cancel` ends it)")
    return (
        f"{'; '.join(words)}; bring it back, or end all of it: "
        f"codex-control-plane-mcp-admin forget-host {name} --force"
    )


def _listed(ids: list[OperationId]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
