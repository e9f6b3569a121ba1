"""An inbox for each thread: what Codex says about it, kept until somebody takes it.

Open a thread's inbox *before* the call that makes it speak. What comes for a thread without an
inbox is kept for a while too, because an answer with a new thread's id and that thread's first
words may arrive in one read. Nothing here decides anything or waits for a slow reader.

An inbox is bounded. Parts of a stream (deltas) are joined while they wait, and need not wake a
reader who has no use for half a sentence. When there are too many characters they are dropped, and
the reader is told how many. Of states (token usage, checklist and the like) only the newest waits.
Starts, ends, errors and requests are few and are always kept.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeAlias, get_args

import anyio

from codex_control_plane_mcp.codex.words.events import (
    ChecklistUpdated,
    ConnectionLost,
    Delta,
    DeltasDropped,
    DiffUpdated,
    Event,
    McpToolCallProgressed,
    ThreadStatusChanged,
    TokenUsageUpdated,
    UnknownNotification,
)
from codex_control_plane_mcp.codex.words.questions import ServerRequest
from codex_control_plane_mcp.model.ids import ThreadId

Said: TypeAlias = Event | ServerRequest | DeltasDropped | ConnectionLost

#: A megabyte of unread text for one thread is a reader that does not read.
MAX_WAITING_CHARACTERS = 1_000_000
#: So many things that may be dropped may wait; joined deltas count as one.
MAX_WAITING_DROPPABLE = 2_000
#: Threads whose early words are kept, and for how long: time to open an inbox after a call.
MAX_EARLY_THREADS = 64
EARLY_SECONDS = 60.0

_DELTAS = get_args(Delta)
_STATES = (TokenUsageUpdated, ChecklistUpdated, DiffUpdated, ThreadStatusChanged)
_DROPPABLE = (McpToolCallProgressed, UnknownNotification)


@dataclass(slots=True, eq=False)
class _Stream:
    """Deltas of one item that wait to be read as one."""

    first: Delta
    parts: list[str]


class Inbox:
    """What was said about one thread. One reader."""

    def __init__(self, thread_id: ThreadId) -> None:
        self.thread_id = thread_id
        self._waiting: deque[Said | _Stream] = deque()
        self._characters = 0
        self._droppable = 0
        self._dropped = DeltasDropped(thread_id, 0, 0)
        self._nudged = False
        #: Something waits that is no part of a stream.
        self._is_urgent = False
        self._something = anyio.Event()

    async def receive_many(self, streams_at: float = -math.inf) -> list[Said]:
        """Everything that waits, in order; waits while there is nothing, or until `nudge`. For
        parts of a stream alone it waits until `streams_at`."""
        while not self._is_due(streams_at):
            self._something = anyio.Event()
            with anyio.move_on_at(streams_at if self._waiting else math.inf):
                await self._something.wait()
        self._nudged = False
        return self.take_all()

    def _is_due(self, streams_at: float) -> bool:
        if self._nudged or self._is_urgent:
            return True
        return bool(self._waiting) and anyio.current_time() >= streams_at

    def nudge(self) -> None:
        """Let the reader look up, for a reason of its own, though Codex said nothing."""
        self._nudged = True
        self._something.set()

    def take_all(self) -> list[Said]:
        """Everything that waits; nothing when nothing does."""
        taken = [_whole(one) if isinstance(one, _Stream) else one for one in self._waiting]
        if self._dropped.parts:
            taken.insert(0, self._dropped)
            self._dropped = DeltasDropped(self.thread_id, 0, 0)
        self._waiting.clear()
        self._is_urgent = False
        self._characters = self._droppable = 0
        return taken

    def put(self, said: Said) -> None:
        """Keep it for the reader; never waits, never raises."""
        if isinstance(said, _DELTAS):
            is_first = not self._waiting
            self._put_delta(said)
            if is_first:
                self._something.set()
            return
        if isinstance(said, _STATES):
            self._put_state(said)
        elif isinstance(said, _DROPPABLE):
            self._put_droppable(said)
        else:
            self._waiting.append(said)
        self._is_urgent = True
        self._something.set()

    def _put_delta(self, delta: Delta) -> None:
        size = len(delta.text)
        last = self._waiting[-1] if self._waiting else None
        if self._characters + size > MAX_WAITING_CHARACTERS:
            self._drop(size)
        elif isinstance(last, _Stream) and _same_stream(last.first, delta):
            last.parts.append(delta.text)
            self._characters += size
        elif self._droppable < MAX_WAITING_DROPPABLE:
            self._waiting.append(_Stream(delta, [delta.text]))
            self._droppable += 1
            self._characters += size
        else:
            self._drop(size)

    def _put_state(self, state: Said) -> None:
        for index, waiting in enumerate(self._waiting):
            if type(waiting) is type(state):
                del self._waiting[index]
                break
        self._waiting.append(state)

    def _put_droppable(self, said: Said) -> None:
        if self._droppable < MAX_WAITING_DROPPABLE:
            self._waiting.append(said)
            self._droppable += 1
        else:
            self._drop(0)

    def _drop(self, characters: int) -> None:
        self._dropped = replace(
            self._dropped,
            parts=self._dropped.parts + 1,
            characters=self._dropped.characters + characters,
        )


def _same_stream(one: Delta, other: Delta) -> bool:
    return (
        type(one) is type(other) and one.item_id == other.item_id and one.turn_id == other.turn_id
    )


def _whole(stream: _Stream) -> Delta:
    return replace(stream.first, text="".join(stream.parts))


@dataclass(slots=True)
class _Early:
    inbox: Inbox
    since: float


@dataclass(slots=True, eq=False)
class Inboxes:
    """All inboxes of one connection."""

    _open: dict[ThreadId, Inbox] = field(default_factory=dict)
    _early: OrderedDict[ThreadId, _Early] = field(default_factory=OrderedDict)
    _lost: ConnectionLost | None = None

    @contextmanager
    def open(self, thread_id: ThreadId) -> Iterator[Inbox]:
        """The thread's inbox, with what came early. One at a time for each thread."""
        if thread_id in self._open:
            raise RuntimeError(f"somebody reads thread {thread_id} already")
        early = self._early.pop(thread_id, None)
        inbox = early.inbox if early else Inbox(thread_id)
        if self._lost is not None:
            inbox.put(self._lost)
        self._open[thread_id] = inbox
        try:
            yield inbox
        finally:
            del self._open[thread_id]

    def deliver(self, thread_id: ThreadId, said: Event | ServerRequest) -> None:
        """Put it where it belongs, now or later."""
        inbox = self._open.get(thread_id)
        if inbox is None:
            inbox = self._early_inbox(thread_id)
        inbox.put(said)

    def lose(self, reason: str) -> None:
        """The line is cut: tell everybody, also those who come later."""
        self._lost = ConnectionLost(reason)
        for inbox in self._open.values():
            inbox.put(self._lost)

    def _early_inbox(self, thread_id: ThreadId) -> Inbox:
        now = anyio.current_time()
        self._forget_before(now - EARLY_SECONDS)
        early = self._early.setdefault(thread_id, _Early(Inbox(thread_id), now))
        return early.inbox

    def _forget_before(self, moment: float) -> None:
        """Oldest first; Codex sends its pending requests again to whoever resumes the thread."""
        while self._early:
            oldest = next(iter(self._early.values()))
            if oldest.since >= moment and len(self._early) < MAX_EARLY_THREADS:
                return
            self._early.popitem(last=False)
