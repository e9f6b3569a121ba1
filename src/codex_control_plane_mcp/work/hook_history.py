"""Takes into the book what Codex's hooks have left beside it (see `journal_hook`).

Hooks also run in turns that we start. Those are in the book already, told by Codex itself, so they
are left out here. An operation's thread, and that it began, are on record before Codex hears of
the turn: whose turn it is can always be told.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.journal_hook import COMPLETE, DRAFT, MAX_BYTES
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import ExecutePlan, Review, SteerTurn
from codex_control_plane_mcp.store import hook_history, lookup
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind

logger = logging.getLogger(__name__)

#: What a person types is found within a second.
LOOK_SECONDS = 0.5
#: Taken in with one commit.
AT_ONCE = 100
#: Codex's are uuids.
MAX_ID_CHARS = 200
#: A hook needs milliseconds to finish its file. One that was killed never does.
UNFINISHED_SECONDS = 60.0

_NAME = re.compile(rf"(?P<nanoseconds>[0-9]{{20}})-[0-9a-f]+{re.escape(COMPLETE)}")

#: Hook event → what it is to us, and where its text stands.
_KINDS: Final[Mapping[str, tuple[HookKind, str]]] = {
    "SessionStart": (HookKind.SESSION, "source"),
    "UserPromptSubmit": (HookKind.PROMPT, "prompt"),
    "Stop": (HookKind.ANSWER, "last_assistant_message"),
}


@dataclass(frozen=True, slots=True)
class HookHistory:
    """The folder of one state, and the book that it is taken into."""

    book: Book
    spool: Path
    max_text_chars: int
    #: Otherwise what comes is thrown away.
    enabled: bool = True

    async def run(self) -> None:
        """Take in what comes, until cancelled."""
        while True:
            try:
                while await self.look():
                    pass
            except (StateBusy, OSError) as error:
                logger.warning("what hooks told waits: %s", error)
            except Exception:
                # A border: our tasks do not depend on what people type.
                logger.exception("what hooks told waits")
            await anyio.sleep(LOOK_SECONDS)

    async def look(self) -> bool:
        """Take in what is there; whether there may be more."""
        # Not in a thread: the folder is beside the state, empty nearly always, and looked at often.
        files = self._waiting()
        if not files:
            return False
        events = await anyio.to_thread.run_sync(lambda: list(_read(files))) if self.enabled else []
        if events:
            await self.book.write(lambda writing: self._take_in(writing, events))
        # Only now. What is found again after a crash is known by its name.
        await anyio.to_thread.run_sync(_remove, files)
        return len(files) == AT_ONCE

    def waiting(self) -> int:
        """How many events wait to be taken in."""
        try:
            return sum(name.endswith(COMPLETE) for name in os.listdir(self.spool))  # noqa: PTH208
        except FileNotFoundError:
            return 0

    def _waiting(self) -> list[Path]:
        try:
            names = sorted(os.listdir(self.spool))  # noqa: PTH208  # no Path for each of thousands
        except FileNotFoundError:
            return []  # No hook has run yet.
        _sweep(self.spool / name for name in names if name.endswith(DRAFT))
        return [self.spool / name for name in names if name.endswith(COMPLETE)][:AT_ONCE]

    def _take_in(self, writing: Writing, events: list[HookEvent]) -> None:
        for event in events:
            if not _is_ours(writing, event):
                hook_history.keep(writing, event, self.max_text_chars)


def _is_ours(writing: Writing, event: HookEvent) -> bool:
    """Whether the book has it by another way."""
    if event.turn_id is None:
        return lookup.newest_in_thread(writing.connection, event.thread_id) is not None
    found = lookup.maybe_of_turn(writing.connection, event.thread_id, event.turn_id)
    return any(_told_already(operation, event) for operation in found)


def _told_already(operation: Operation, event: HookEvent) -> bool:
    request = operation.request
    if operation.started_at is None:
        return False
    if isinstance(request, SteerTurn):
        # The turn may be a person's; the words are ours.
        return event.kind is HookKind.PROMPT and event.text == request.message
    if operation.turn_id == event.turn_id:
        return True
    has_others = isinstance(request, Review) or (
        isinstance(request, ExecutePlan) and request.goal is not None
    )
    if operation.turn_id is not None and not has_others:
        return False
    is_over = operation.completed_at is not None and operation.completed_at < event.at
    return operation.started_at <= event.at and not is_over


# --- Files ---------------------------------------------------------------------------------------


def _read(files: list[Path]) -> Iterator[HookEvent]:
    for file in files:
        try:
            with file.open("rb") as opened:
                told = opened.read(MAX_BYTES + 1)
        except FileNotFoundError:
            continue
        if (event := parse(file.name, told)) is not None:
            yield event


def parse(name: str, told: bytes) -> HookEvent | None:
    """What a hook was told, if it is anything to us. `name` is its file's."""
    named = _NAME.fullmatch(name)
    if named is None or len(told) > MAX_BYTES:
        return None
    try:
        said = json.loads(told)
    except (ValueError, RecursionError):
        logger.info("a hook was told what is no JSON: %s", name)
        return None
    match said:
        case {"agent_id": str()}:
            return None  # Words between agents, not a person's.
        case {"hook_event_name": str(event), "session_id": str(thread_id), "cwd": str(cwd)}:
            pass
        case _:
            return None
    if event not in _KINDS:
        return None
    kind, field = _KINDS[event]
    turn_id = None if kind is HookKind.SESSION else said.get("turn_id", "")
    text, model = said.get(field), said.get("model")
    if not isinstance(text, str) or not text.strip():
        return None
    if not (_can_be_id(thread_id) and (turn_id is None or _can_be_id(turn_id))):
        return None
    return HookEvent(
        event_id=name.removesuffix(COMPLETE),
        kind=kind,
        at=Moment(int(named["nanoseconds"]) // 1_000_000),
        thread_id=ThreadId(thread_id),
        turn_id=None if turn_id is None else TurnId(turn_id),
        cwd=cwd,
        model=model if isinstance(model, str) else None,
        text=text,
    )


def _can_be_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS


def _remove(files: list[Path]) -> None:
    for file in files:
        with suppress(FileNotFoundError):
            file.unlink()


def _sweep(drafts: Iterator[Path]) -> None:
    for draft in drafts:
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > UNFINISHED_SECONDS:
                draft.unlink()
