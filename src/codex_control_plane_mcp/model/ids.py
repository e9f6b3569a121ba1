"""Names of things. Codex's own ids are opaque; ours sort by the time they were made."""

import secrets
import threading
from typing import NewType

from codex_control_plane_mcp.clock import Moment

OperationId = NewType("OperationId", str)
WorkflowId = NewType("WorkflowId", str)
InteractionId = NewType("InteractionId", str)
ProjectId = NewType("ProjectId", str)
#: One run of a repair.
RepairId = NewType("RepairId", str)
#: Codex's id of a conversation (`chat_id` of the public contract is the same).
ThreadId = NewType("ThreadId", str)
#: Codex's id of one run of the model within a thread.
TurnId = NewType("TurnId", str)
#: Names one app-server process for good (pid and start time), so that its answers can be told
#: from those of another process.
AppServerId = NewType("AppServerId", str)
#: The how-manieth owner of the book. Every write of a worker carries its own.
Generation = NewType("Generation", int)
#: A machine, or a part of one, that has a Codex home of its own. Threads live there.
HostId = NewType("HostId", str)
#: The only host of a book that is a file.
HERE = HostId("")
#: Nobody has claimed it.
NOBODY = Generation(0)


def new_operation_id(at: Moment) -> OperationId:
    return OperationId(_sortable("op", at))


def new_workflow_id(at: Moment) -> WorkflowId:
    return WorkflowId(_sortable("wf", at))


def new_interaction_id(at: Moment) -> InteractionId:
    return InteractionId(_sortable("ia", at))


def new_client_message_id(operation_id: OperationId, attempt: int) -> str:
    """The `clientUserMessageId` of one attempt. Codex gives it back: that is our evidence."""
    return f"{operation_id}.{attempt}"


def new_wish_id(at: Moment) -> str:
    return _sortable("wi", at)


def new_repair_id(at: Moment) -> RepairId:
    return RepairId(_sortable("rp", at))


class _Tails:
    """What tells ids of one millisecond apart: drawn at random for the first, then counted up, so
    that ids made by one process sort in the order in which they were made."""

    #: Leaves room to count on from the highest.
    BITS = 39

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = Moment(0)
        self._last = 0

    def next(self, at: Moment) -> int:
        with self._lock:
            self._last = self._last + 1 if at == self._at else secrets.randbits(self.BITS)
            self._at = at
            return self._last


_tails = _Tails()


def _sortable(prefix: str, at: Moment) -> str:
    return f"{prefix}_{at:012x}{_tails.next(at):010x}"
