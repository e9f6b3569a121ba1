"""One chat: how it stands, and what stands in it.

Codex's own word where it can be asked, our book and what hooks told where it cannot, and the files
of an older history where none of them knows the chat. Nothing is started for it, and nothing is
written.

A chat whose folder lies outside the allowed roots is not shown, not even its title, and no argument
changes that: what may be seen is for the settings, hence for a person, to say.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.words.things import Thread
from codex_control_plane_mcp.desk import old_history, projects, views_chats
from codex_control_plane_mcp.desk.old_history import OldChat
from codex_control_plane_mcp.desk.records import (
    APP_SERVER,
    HOOK_HISTORY,
    KB_HISTORY,
    TRACKED_TURN,
    BookRecord,
    CodexRecord,
    NotThere,
    NoWord,
    OffLoop,
    OldRecord,
    asked,
)
from codex_control_plane_mcp.desk.runtime import RuntimeView
from codex_control_plane_mcp.desk.status import lines
from codex_control_plane_mcp.desk.submit import MAX_NAME_CHARS
from codex_control_plane_mcp.desk.summary import (
    ENDING_CHARS,
    HistorySummary,
    Said,
    Summaries,
)
from codex_control_plane_mcp.desk.texts import beginning, plain
from codex_control_plane_mcp.desk.transcript import (
    Bookmark,
    Page,
    Part,
    Portion,
    Record,
    bookmark,
    page_of,
)
from codex_control_plane_mcp.errors import (
    AppServerUnavailable,
    ControlPlaneError,
    InvalidArgument,
    ThreadNotFound,
)
from codex_control_plane_mcp.model.ids import ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import ACTIVE, Operation, Plan
from codex_control_plane_mcp.model.policy import is_within
from codex_control_plane_mcp.model.transcript import Role
from codex_control_plane_mcp.model.workflow import Proposal
from codex_control_plane_mcp.redact import redact
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import chats, hook_history, lookup, operations
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.hook_history import HookEvent

#: How much a title, a plan, a first message and a last one may weigh beside the messages.
TITLE_WEIGHT: Final = 150
PLAN_WEIGHT: Final = 1_000
DIGEST_WEIGHT: Final = 300


#: The public name of what comes from several sources.
MIXED: Final = "mixed"


class Format(StrEnum):
    """How messages are shown."""

    #: Each with its names, its time and whose it is.
    STRUCTURED = "structured"
    #: As one text to read.
    MARKDOWN = "markdown"
    #: Whose it is, and what was said.
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of which chat."""

    chat_id: ThreadId
    cursor: str | None = None
    #: Without a cursor: from the beginning on, instead of from the end back.
    from_start: bool = False
    messages: int | None = None
    turns: int | None = None
    with_tools: bool = False
    format: Format = Format.STRUCTURED


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom to ask about chats."""

    book: Book
    settings: Settings
    runtime: RuntimeView
    off_loop: OffLoop
    summaries: Summaries


@dataclass(frozen=True, slots=True)
class Chat:
    """All that is known of a chat that may be shown."""

    id: ThreadId
    cwd: str
    project_id: ProjectId
    #: Codex's word.
    thread: Thread | None
    #: Our first operation in it, the newest, and the unfinished ones.
    first: Operation | None
    newest: Operation | None
    unfinished: Sequence[Operation]
    #: Whether we archived it.
    was_archived: bool
    #: What hooks told of it first, and last.
    told_first: HookEvent | None
    told_last: HookEvent | None
    old: OldChat | None

    @property
    def at_work(self) -> Operation | None:
        """The operation that is going on; else the next one."""
        started = (one for one in self.unfinished if one.status in ACTIVE)
        return next(started, self.unfinished[0] if self.unfinished else None)

    @property
    def title(self) -> str:
        return title(self.thread, self.first) or _in_a_line(self.began_with)

    @property
    def began_with(self) -> str:
        """Its first message, maybe shortened; "" where it is not known."""
        told = self.told_first.text if self.told_first else ""
        return began_with(self.thread, self.first) or told

    @property
    def status(self) -> str:
        return status_word(self.thread, self.at_work)

    @property
    def is_archived(self) -> bool:
        return self.was_archived if self.thread is None else self.thread.is_archived

    @property
    def source(self) -> str:
        if self.thread is None:
            return self.own_source
        return APP_SERVER if self.newest is None else MIXED

    @property
    def own_source(self) -> str:
        """Whose word it is without Codex's."""
        match self.newest, self.told_last:
            case None, None:
                return KB_HISTORY
            case _, None:
                return TRACKED_TURN
            case None, _:
                return HOOK_HISTORY
            case _:
                return MIXED


# --- Which chat ----------------------------------------------------------------------------------


async def find(sources: Sources, chat_id: ThreadId) -> Chat:
    """Raises ThreadNotFound, and InvalidArgument for a chat that may not be shown."""
    plain("chat_id", chat_id, MAX_NAME_CHARS)

    known = await sources.book.read(lambda reading: _Known.of(reading, chat_id))
    newest, told = known.newest, known.told_last
    thread, was_denied = await _thread(sources, chat_id)
    old = None
    if thread is None and newest is None and told is None:
        root = sources.settings.kb_history_root
        old = await sources.off_loop(lambda: old_history.find(root, chat_id))
        if old is None:
            raise _not_found(chat_id, was_denied=was_denied)
    said = thread or newest or told or old
    cwd = None if said is None else said.cwd
    home = None if cwd is None else (await homes(sources, [cwd])).get(cwd)
    if cwd is None or home is None:
        raise InvalidArgument(
            "this chat belongs to a folder outside the allowed ones, and is not shown; a person "
            "can add the folder to CODEX_ALLOWED_ROOTS",
            field="chat_id",
        )
    return Chat(
        chat_id,
        cwd,
        home.project_id,
        thread,
        known.first,
        newest,
        known.unfinished,
        known.was_archived,
        known.told_first,
        told,
        old,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What the book knows of a chat."""

    first: Operation | None
    newest: Operation | None
    unfinished: Sequence[Operation]
    was_archived: bool
    told_first: HookEvent | None
    told_last: HookEvent | None

    @classmethod
    def of(cls, reading: Reading, chat_id: ThreadId) -> "_Known":
        told_first, told_last = (
            hook_history.in_thread(reading, chat_id, None, back=back) for back in (False, True)
        )
        return cls(
            chats.first_in_thread(reading, chat_id),
            lookup.newest_in_thread(reading, chat_id),
            chats.unfinished_in_thread(reading, chat_id),
            chats.is_archived(reading, chat_id),
            None if told_first is None else told_first.event,
            None if told_last is None else told_last.event,
        )


@dataclass(frozen=True, slots=True)
class Home:
    """Where a chat belongs, if it may be shown."""

    folder: Path
    project_id: ProjectId


async def homes(sources: Sources, cwds: Iterable[str]) -> dict[str, Home]:
    """Of those folders where a chat may be shown, where it belongs. A folder need not exist any
    more. A worktree of ours belongs to what it was made from."""
    settings = sources.settings
    makers = {cwd: projects.maker_of(settings, cwd) for cwd in set(cwds)}
    known = [id_ for id_ in makers.values() if id_ is not None]
    made = {one.id: one for one in await sources.book.read(partial(lookup.many, ids=known))}

    def look() -> dict[str, Home]:
        found: dict[str, Home] = {}
        for cwd, id_ in makers.items():
            maker = None if id_ is None else made.get(id_)
            folder = Path(os.path.realpath(cwd if maker is None else maker.request.cwd))
            if is_within(folder, settings.roots):
                found[cwd] = Home(folder, projects.project_at(settings, folder).id)
        return found

    return await sources.off_loop(look)


def title(thread: Thread | None, first: Operation | None) -> str:
    """A chat's name; without one, how it began."""
    request = first.request if first else None
    named = (thread.name if thread else None) or getattr(request, "title", None)
    return _in_a_line(named or began_with(thread, first))


def _in_a_line(text: str) -> str:
    return beginning(redact(" ".join(text.split())), TITLE_WEIGHT)


def began_with(thread: Thread | None, first: Operation | None) -> str:
    """A chat's first message, maybe shortened; "" where it is not known."""
    return (thread.preview if thread else "") or (first.request.message if first else "")


def status_word(thread: Thread | None, at_work: Operation | None) -> str:
    """How a chat stands, in a word: our operation's, or else Codex's."""
    if at_work is not None:
        return at_work.status.value
    if thread is None or thread.status.kind in ("idle", "notLoaded", ""):
        return "idle"
    if thread.status.kind != "active":
        return "error"
    if "waitingOnApproval" in thread.status.flags:
        return "waiting_for_approval"
    return "waiting_for_user_input" if "waitingOnUserInput" in thread.status.flags else "running"


def moment(seconds: int | None) -> Moment | None:
    """A moment as Codex counts them."""
    return None if seconds is None else Moment(seconds * 1000)


async def _thread(sources: Sources, chat_id: ThreadId) -> tuple[Thread | None, bool]:
    """Codex's word on a thread, and whether that was that there is none."""
    library = sources.runtime.library()
    if library is None:
        return None, False
    try:
        return await asked(lambda: library.thread(chat_id)), False
    except NoWord as error:
        return None, isinstance(error, NotThere)


def _not_found(chat_id: ThreadId, *, was_denied: bool) -> ThreadNotFound:
    why = (
        "no chat has this id"
        if was_denied
        else "no task of this control plane worked in this chat, and Codex cannot be asked now: it "
        "is started by the next task"
    )
    return ThreadNotFound(f"{why}; codex_list_project_chats lists chats", threadId=chat_id)


# --- How it stands -------------------------------------------------------------------------------


async def status(sources: Sources, chat_id: ThreadId) -> views_chats.ChatStatus:
    chat = await find(sources, chat_id)
    thread, operation = chat.thread, chat.at_work or chat.newest
    shown = await sources.book.read(
        lambda reading: None if operation is None else lines(reading, [operation])[0]
    )
    policy = operation.policy if operation else None
    return views_chats.ChatStatus(
        chat_id=chat.id,
        project_id=chat.project_id,
        cwd=chat.cwd,
        title=chat.title,
        status=chat.status,
        archived=chat.is_archived,
        model=thread.model if thread else policy.model if policy else None,
        created_at=_created_at(chat),
        last_activity_at=_last_activity_at(chat),
        codex_status=thread.status.kind if thread else None,
        operation=shown,
        source=chat.source,
    )


def _created_at(chat: Chat) -> Moment | None:
    if chat.thread is not None:
        return moment(chat.thread.created_at)
    begun = (
        chat.first.created_at if chat.first else None,
        chat.told_first.at if chat.told_first else None,
    )
    return min((at for at in begun if at is not None), default=None)


def _last_activity_at(chat: Chat) -> Moment | None:
    known = (
        moment(chat.thread.updated_at) if chat.thread else None,
        chat.newest.updated_at if chat.newest else None,
        chat.told_last.at if chat.told_last else None,
        chat.old.updated_at if chat.old else None,
    )
    return max((at for at in known if at is not None), default=None)


# --- What stands in it ---------------------------------------------------------------------------


async def read(sources: Sources, wanted: Wanted) -> views_chats.Chat:
    """Raises ThreadNotFound, and InvalidArgument for a cursor that is not of this chat."""
    mark = None if wanted.cursor is None else bookmark(wanted.cursor, wanted.chat_id)
    chat = await find(sources, wanted.chat_id)
    page, record = await _page(sources, chat, mark, wanted)
    planned = await sources.book.read(lambda reading: chats.latest_plan(reading, chat.id))
    structured = wanted.format is Format.STRUCTURED
    messages = tuple(_message(part, named=structured) for part in page.parts)
    as_text = wanted.format is Format.MARKDOWN
    return views_chats.Chat(
        chat_id=chat.id,
        project_id=chat.project_id,
        title=chat.title,
        status=chat.status,
        archived=chat.is_archived,
        messages=None if as_text else messages,
        markdown="\n\n".join(map(_markdown, messages)) if as_text else None,
        plans=_plans(page),
        latest_plan=_latest_plan(page, planned),
        history_summary=await _summary(sources.summaries, chat, record, page),
        pagination=views_chats.Pagination(
            page.has_more_before,
            page.has_more_after,
            page.onwards.cursor(chat.id) if page.onwards else None,
            page.later.cursor(chat.id) if page.later else None,
        ),
        source=_source(chat, record),
    )


def _source(chat: Chat, record: Record | None) -> str:
    if record is None:
        return APP_SERVER
    return chat.own_source if record.source == TRACKED_TURN else record.source


async def _page(
    sources: Sources, chat: Chat, mark: Bookmark | None, wanted: Wanted
) -> tuple[Page, Record | None]:
    """The page, and what it is from."""
    portion = Portion(
        messages=wanted.messages,
        turns=wanted.turns,
        with_tools=wanted.with_tools,
        frame=_FRAMES[wanted.format],
        named=wanted.format is Format.STRUCTURED,
    )
    if mark is not None:
        record = _records(sources, chat).get(mark.source)
        if record is None:
            raise AppServerUnavailable(
                "what this cursor goes on in cannot be read now, mostly because no Codex runs; "
                "leave cursor out to begin with what is known without it"
            )
        return await page_of(record, mark.place, portion, back=mark.back), record
    for record in _records(sources, chat).values():
        try:
            page = await page_of(record, None, portion, back=not wanted.from_start)
        except NoWord:
            # Of an ephemeral thread, or one without a turn, Codex has nothing to read.
            continue
        return page, record
    nothing = Page((), has_more_before=False, has_more_after=False, onwards=None, later=None)
    return nothing, None


def _records(sources: Sources, chat: Chat) -> dict[str, Record]:
    """What the chat can be read from, the best first."""
    library = sources.runtime.library()
    found: list[Record] = []
    if library is not None and chat.thread is not None:
        found.append(CodexRecord(library, chat.id))
    if chat.newest is not None or chat.told_last is not None:
        found.append(BookRecord(sources.book, chat.id))
    if chat.old is not None:
        found.append(OldRecord(chat.old, sources.off_loop))
    return {record.source: record for record in found}


#: What a message weighs beside its text: keys, quotes, time, offsets; in markdown its headline.
_FRAMES: Final = {Format.STRUCTURED: 170, Format.MARKDOWN: 90, Format.COMPACT: 90}


def _message(part: Part, *, named: bool) -> views_chats.ChatMessage:
    entry = part.entry
    return views_chats.ChatMessage(
        id=entry.id if named else None,
        turn_id=entry.turn_id if named else None,
        role=entry.role,
        at=entry.at if named else None,
        text=part.text,
        offset=None if part.is_whole else part.offset,
        total_chars=None if part.is_whole else len(entry.text),
        attachment_count=entry.attachment_count or None,
    )


def _markdown(message: views_chats.ChatMessage) -> str:
    part = (
        ""
        if message.offset is None
        else f" (from character {message.offset} of {message.total_chars})"
    )
    attached = f" (with {message.attachment_count} attached)" if message.attachment_count else ""
    return f"### {message.role}{part}{attached}\n\n{message.text}"


def _plans(page: Page) -> tuple[views_chats.PlanMention, ...]:
    return tuple(
        views_chats.PlanMention(entry.turn_id, entry.id, _hash(entry.turn_id, entry.id, entry.text))
        for entry in (part.entry for part in page.parts)
        if entry.role is Role.PLAN
    )


def _hash(turn_id: TurnId | None, item_id: str, markdown: str) -> str:
    """As it is approved by: of the plan as the book would have it."""
    return Proposal(turn_id or TurnId(""), Plan(item_id, operations.clean(markdown))).hash


def _latest_plan(page: Page, planned: Operation | None) -> views_chats.LatestPlan | None:
    """The newest plan of the chat: of this page, if nothing newer is on another; else of ours."""
    shown = [part.entry for part in page.parts if part.entry.role is Role.PLAN]
    if shown and not page.has_more_after:
        newest = shown[-1]
        return _plan(newest.turn_id, newest.id, newest.text)
    if planned is None or planned.report is None or planned.report.plan is None:
        return None
    plan = planned.report.plan
    return _plan(planned.report.turn_id, plan.item_id, plan.markdown)


def _plan(turn_id: TurnId | None, item_id: str, markdown: str) -> views_chats.LatestPlan:
    return views_chats.LatestPlan(
        turn_id,
        item_id,
        _hash(turn_id, item_id, markdown),
        beginning(markdown, PLAN_WEIGHT),
        len(markdown),
    )


async def _summary(
    summaries: Summaries, chat: Chat, record: Record | None, page: Page
) -> HistorySummary:
    """What lies before a page."""
    if not page.has_more_before:
        return HistorySummary("none", "not_needed", None)
    began = chat.began_with
    mark = page.onwards
    if summaries.are_remote and record is not None and mark is not None and mark.back:
        return await summaries.of([Said("user", began), *await _said_before(record, mark)])
    text = f"It began with: {beginning(redact(began), DIGEST_WEIGHT)}" if began else None
    return HistorySummary("local", "ok", text)


async def _said_before(record: Record, mark: Bookmark) -> list[Said]:
    """What was said before a place, as much of it as a summary is made of."""
    said: list[Said] = []
    chars = 0
    next_mark: Bookmark | None = mark
    while next_mark is not None and chars < ENDING_CHARS:
        try:
            page = await page_of(record, next_mark.place, Portion(), back=True)
        except (NoWord, ControlPlaneError):
            break  # a summary of what could be read
        said[:0] = [
            Said("user" if part.entry.role is Role.USER else "assistant", part.text)
            for part in page.parts
        ]
        chars += sum(len(part.text) for part in page.parts)
        next_mark = page.onwards
    return said
