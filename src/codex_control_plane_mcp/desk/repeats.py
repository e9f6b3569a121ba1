"""Tasks from callers who cannot say whether they ask again: the same task is the same operation.

It is while that has not ended. Once it has, it is for a while longer, unless its result was handed
out: then whoever asks again wants it done again. What was handed out is only known to this
process. After a crash an answer is rather given twice than a task done twice.
"""

from collections import deque

from codex_control_plane_mcp.clock import seconds_between
from codex_control_plane_mcp.desk.submit import Accepted, enter
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import Submission, payload_hash
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.repeats import newest_of, remember

#: Whoever waited for a result and lost it comes back within this time of its end. Whoever comes
#: later may have read it elsewhere, and works in a folder that has changed since.
OWED_SECONDS = 600.0
#: More than are handed out within that time.
REMEMBERED = 1_000


class Repeats:
    """Knows which results were handed out."""

    def __init__(self) -> None:
        self._handed_out: deque[OperationId] = deque(maxlen=REMEMBERED)

    def enter(self, writing: Writing, wanted: Submission) -> Accepted:
        """Store a submission, unless the operation that the same one made is still meant."""
        key = payload_hash(wanted)
        earlier = newest_of(writing, key)
        if earlier is not None and self._is_meant(writing, earlier):
            return Accepted(earlier, idempotent=True)
        accepted = enter(writing, wanted)
        remember(writing, key, accepted.operation.id)
        return accepted

    def handed_out(self, operation_id: OperationId) -> None:
        """The caller is given the result now."""
        self._handed_out.append(operation_id)

    def _is_meant(self, writing: Writing, operation: Operation) -> bool:
        if operation.completed_at is None:
            return True
        ended = seconds_between(operation.completed_at, writing.now)
        return ended <= OWED_SECONDS and operation.id not in self._handed_out
