"""What the desk shows of chats."""

from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.summary import HistorySummary
from codex_control_plane_mcp.desk.views import BRIEF, OPTIONAL, TACIT, LastError, OperationLine
from codex_control_plane_mcp.model.transcript import Role


@dataclass(frozen=True, slots=True)
class ChatLine:
    """A chat in a list."""

    #: The thread's id; None for a new chat that waits in the queue.
    chat_id: str | None
    project_id: str
    title: str
    #: As of an operation while one is unfinished; else `running`, `waiting_for_approval`,
    #: `waiting_for_user_input` where somebody else's turn is active, `idle`, or `error`.
    status: str
    archived: bool
    last_activity_at: Moment | None
    #: The unfinished operation in it.
    operation_id: str | None
    source: str


@dataclass(frozen=True, slots=True)
class ChatList:
    chats: tuple[ChatLine, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ActiveChats:
    chats: tuple[ChatLine, ...]
    total: int = field(metadata=TACIT)
    #: Those outside the allowed folders, of which nothing is shown.
    hidden: int = field(metadata=TACIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStatus:
    chat_id: str
    project_id: str
    cwd: str = field(metadata=TACIT)
    title: str = field(metadata=TACIT)
    status: str
    archived: bool
    model: str | None = field(metadata=TACIT)
    created_at: Moment | None = field(metadata=TACIT)
    last_activity_at: Moment | None = field(metadata=TACIT)
    #: Codex's `active`, `idle`, `notLoaded` or `systemError`; null when it was not asked.
    codex_status: str | None = field(metadata=TACIT)
    #: The unfinished operation in it, or the last one.
    operation: OperationLine | None = field(metadata=BRIEF)
    source: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message, or a part of one."""

    id: str | None = field(metadata=OPTIONAL)
    turn_id: str | None = field(metadata=OPTIONAL)
    role: Role
    at: Moment | None = field(metadata=OPTIONAL)
    text: str
    #: Of a part: where it begins in the whole, and how long that is.
    offset: int | None = field(default=None, metadata=OPTIONAL)
    total_chars: int | None = field(default=None, metadata=OPTIONAL)
    attachment_count: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class PlanMention:
    turn_id: str | None
    item_id: str
    plan_hash: str


@dataclass(frozen=True, slots=True)
class LatestPlan:
    turn_id: str | None
    item_id: str
    plan_hash: str
    #: Its beginning; `total_chars` says how much there is.
    markdown: str
    total_chars: int


@dataclass(frozen=True, slots=True)
class Pagination:
    has_more_before: bool
    has_more_after: bool
    #: Goes on in the same direction; null at the end.
    cursor: str | None
    #: What comes later than these messages: now or some time.
    later_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A part of a chat, in the order in which it was said."""

    chat_id: str
    project_id: str = field(metadata=TACIT)
    title: str = field(metadata=TACIT)
    status: str = field(metadata=TACIT)
    archived: bool = field(metadata=TACIT)
    #: One of the two.
    messages: tuple[ChatMessage, ...] | None = field(default=None, metadata=OPTIONAL)
    markdown: str | None = field(default=None, metadata=OPTIONAL)
    #: Those among the messages that are plans.
    plans: tuple[PlanMention, ...]
    latest_plan: LatestPlan | None
    #: What lies before the messages that are shown, in short.
    history_summary: HistorySummary
    pagination: Pagination
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStatus:
    turn_id: str
    chat_id: str
    project_id: str = field(metadata=TACIT)
    #: As of its operation, or Codex's: `running`, `completed`, `interrupted`, `failed`.
    status: str
    started_at: Moment | None = field(metadata=TACIT)
    completed_at: Moment | None = field(metadata=TACIT)
    #: The end of what the agent said last.
    latest_message: str | None
    message_truncated: bool = field(metadata=TACIT)
    operation: OperationLine | None = field(metadata=BRIEF)
    last_error: LastError | None = field(metadata=TACIT)
    source: str


@dataclass(frozen=True, slots=True)
class AppServerStatus:
    #: `running`, `not_started` (it is started by the first task) or `unavailable`.
    status: str
    pid: int | None
    version: str | None
    transport: str | None = field(metadata=TACIT)
    #: `own`: started by us; `shared`: Codex's own daemon.
    ownership: str | None = field(metadata=TACIT)
    started_at: Moment | None = field(metadata=TACIT)
    active_turns: int | None
    problem: str | None
    codex_binary: str | None = field(metadata=TACIT)
    codex_home: str = field(metadata=TACIT)
