"""What Codex reports by itself, in the past tense: one frozen dataclass for each notification.

Every event names its thread, or `None` where Codex does not say one. What nobody here reads, and
what does not look as it should, is an `UnknownNotification` with its raw params; nothing raises.
Requests that want an answer are not here but in `questions`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from codex_control_plane_mcp.codex.words.reading import (
    Odd,
    flag,
    inner,
    maybe_text,
    maybe_thread_id,
    maybe_turn_id,
    needed,
    objects,
    text,
    thread_id,
    turn_id,
    whole,
)
from codex_control_plane_mcp.codex.words.things import (
    Goal,
    Item,
    Thread,
    ThreadStatus,
    TokenUsage,
    Turn,
    TurnError,
    count_lines,
    read_goal,
    read_item,
    read_thread,
    read_thread_status,
    read_token_usage,
    read_turn,
    read_turn_error,
)
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.rpc.values import Json, JsonObject

RequestId = int | str

# Turns and items


@dataclass(frozen=True, slots=True)
class TurnStarted:
    thread_id: ThreadId
    turn: Turn

    @property
    def turn_id(self) -> TurnId:
        return self.turn.id


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The turn is over; `turn.status` says how."""

    thread_id: ThreadId
    turn: Turn

    @property
    def turn_id(self) -> TurnId:
        return self.turn.id


@dataclass(frozen=True, slots=True)
class ItemStarted:
    thread_id: ThreadId
    turn_id: TurnId
    item: Item


@dataclass(frozen=True, slots=True)
class ItemCompleted:
    thread_id: ThreadId
    turn_id: TurnId
    item: Item


# Streams: parts of something whose whole comes with `ItemCompleted`


@dataclass(frozen=True, slots=True)
class AgentMessageDelta:
    thread_id: ThreadId
    turn_id: TurnId
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PlanDelta:
    thread_id: ThreadId
    turn_id: TurnId
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningSummaryDelta:
    thread_id: ThreadId
    turn_id: TurnId
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CommandOutputDelta:
    """A command printed something: a sign of life."""

    thread_id: ThreadId
    turn_id: TurnId
    item_id: str
    text: str


Delta = AgentMessageDelta | PlanDelta | ReasoningSummaryDelta | CommandOutputDelta


@dataclass(frozen=True, slots=True)
class McpToolCallProgressed:
    thread_id: ThreadId
    turn_id: TurnId
    item_id: str
    message: str


# States: only the newest of each counts


@dataclass(frozen=True, slots=True)
class TokenUsageUpdated:
    thread_id: ThreadId
    turn_id: TurnId | None
    total: TokenUsage
    last: TokenUsage
    model_context_window: int | None


@dataclass(frozen=True, slots=True)
class ChecklistStep:
    step: str
    #: `pending`, `inProgress`, `completed`.
    status: str


@dataclass(frozen=True, slots=True)
class ChecklistUpdated:
    """The agent's own to-do list (`turn/plan/updated`), not a proposed plan."""

    thread_id: ThreadId
    turn_id: TurnId
    explanation: str | None
    steps: tuple[ChecklistStep, ...]


@dataclass(frozen=True, slots=True)
class DiffUpdated:
    """The size of all changes of the turn so far."""

    thread_id: ThreadId
    turn_id: TurnId
    file_count: int
    added_lines: int
    removed_lines: int


@dataclass(frozen=True, slots=True)
class ThreadStatusChanged:
    thread_id: ThreadId
    status: ThreadStatus


# The rest of a thread's life


@dataclass(frozen=True, slots=True)
class ErrorReported:
    """Trouble in a turn; with `will_retry` Codex goes on by itself."""

    thread_id: ThreadId
    turn_id: TurnId | None
    error: TurnError
    will_retry: bool


@dataclass(frozen=True, slots=True)
class ServerRequestResolved:
    """A request of Codex's is answered, by whomever, or withdrawn."""

    thread_id: ThreadId
    request_id: RequestId


@dataclass(frozen=True, slots=True)
class ModelRerouted:
    thread_id: ThreadId
    turn_id: TurnId | None
    from_model: str
    to_model: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class WarningRaised:
    """A warning, deprecation notice or complaint about the config."""

    thread_id: ThreadId | None
    message: str


@dataclass(frozen=True, slots=True)
class GoalUpdated:
    thread_id: ThreadId
    turn_id: TurnId | None
    goal: Goal


@dataclass(frozen=True, slots=True)
class GoalCleared:
    thread_id: ThreadId


@dataclass(frozen=True, slots=True)
class ThreadNameUpdated:
    thread_id: ThreadId
    name: str | None


@dataclass(frozen=True, slots=True)
class ThreadStarted:
    """A thread came to life: one of ours, or a sub-agent's."""

    thread: Thread

    @property
    def thread_id(self) -> ThreadId:
        return self.thread.id


@dataclass(frozen=True, slots=True)
class ThreadClosed:
    """The app-server unloaded the thread from its memory."""

    thread_id: ThreadId


@dataclass(frozen=True, slots=True)
class UnknownNotification:
    thread_id: ThreadId | None
    method: str
    params: Json


# Said by this side of the line, in the same stream


@dataclass(frozen=True, slots=True)
class DeltasDropped:
    """The inbox was full: this many parts, this many characters are missing here."""

    thread_id: ThreadId
    parts: int
    characters: int


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The last thing in every inbox: nothing more will come over this connection."""

    reason: str


Event = (
    TurnStarted
    | TurnCompleted
    | ItemStarted
    | ItemCompleted
    | AgentMessageDelta
    | PlanDelta
    | ReasoningSummaryDelta
    | CommandOutputDelta
    | McpToolCallProgressed
    | TokenUsageUpdated
    | ChecklistUpdated
    | DiffUpdated
    | ThreadStatusChanged
    | ErrorReported
    | ServerRequestResolved
    | ModelRerouted
    | WarningRaised
    | GoalUpdated
    | GoalCleared
    | ThreadNameUpdated
    | ThreadStarted
    | ThreadClosed
    | UnknownNotification
)


def read_event(method: str, params: Json) -> Event:
    """Any notification. Never raises."""
    reader = EVENT_READERS.get(method)
    if reader is not None and isinstance(params, dict):
        try:
            return reader(params)
        except Odd:
            pass
    thread = maybe_thread_id(params) if isinstance(params, dict) else None
    return UnknownNotification(thread, method, params)


def _turn_started(p: JsonObject) -> TurnStarted:
    return TurnStarted(thread_id(p), read_turn(needed(p, "turn")))


def _turn_completed(p: JsonObject) -> TurnCompleted:
    return TurnCompleted(thread_id(p), read_turn(needed(p, "turn")))


def _item_started(p: JsonObject) -> ItemStarted:
    return ItemStarted(thread_id(p), turn_id(p), read_item(needed(p, "item")))


def _item_completed(p: JsonObject) -> ItemCompleted:
    return ItemCompleted(thread_id(p), turn_id(p), read_item(needed(p, "item")))


def _delta(kind: type[Delta]) -> Callable[[JsonObject], Delta]:
    def read(p: JsonObject) -> Delta:
        return kind(thread_id(p), turn_id(p), text(p, "itemId"), text(p, "delta"))

    return read


def _mcp_tool_call_progressed(p: JsonObject) -> McpToolCallProgressed:
    return McpToolCallProgressed(
        thread_id(p), turn_id(p), text(p, "itemId"), maybe_text(p, "message") or ""
    )


def _token_usage_updated(p: JsonObject) -> TokenUsageUpdated:
    usage = needed(p, "tokenUsage")
    return TokenUsageUpdated(
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        total=read_token_usage(inner(usage, "total")),
        last=read_token_usage(inner(usage, "last")),
        model_context_window=whole(usage, "modelContextWindow"),
    )


def _checklist_updated(p: JsonObject) -> ChecklistUpdated:
    steps = tuple(
        ChecklistStep(text(step, "step"), maybe_text(step, "status") or "pending")
        for step in objects(p, "plan")
    )
    return ChecklistUpdated(thread_id(p), turn_id(p), maybe_text(p, "explanation"), steps)


def _diff_updated(p: JsonObject) -> DiffUpdated:
    diff = text(p, "diff")
    files = sum(line.startswith("diff --git ") for line in diff.splitlines())
    return DiffUpdated(thread_id(p), turn_id(p), files, *count_lines(diff))


def _thread_status_changed(p: JsonObject) -> ThreadStatusChanged:
    return ThreadStatusChanged(thread_id(p), read_thread_status(needed(p, "status")))


def _error_reported(p: JsonObject) -> ErrorReported:
    return ErrorReported(
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        error=read_turn_error(needed(p, "error")),
        will_retry=flag(p, "willRetry"),
    )


def _server_request_resolved(p: JsonObject) -> ServerRequestResolved:
    request_id = p.get("requestId")
    if not isinstance(request_id, int | str):
        raise Odd("requestId is neither a number nor a string")
    return ServerRequestResolved(thread_id(p), request_id)


def _model_rerouted(p: JsonObject) -> ModelRerouted:
    return ModelRerouted(
        thread_id(p),
        maybe_turn_id(p),
        text(p, "fromModel"),
        text(p, "toModel"),
        maybe_text(p, "reason"),
    )


def _warning_raised(p: JsonObject) -> WarningRaised:
    return WarningRaised(maybe_thread_id(p), text(p, "message"))


def _notice_raised(p: JsonObject) -> WarningRaised:
    parts = [text(p, "summary"), maybe_text(p, "details")]
    return WarningRaised(None, ": ".join(part for part in parts if part))


def _goal_updated(p: JsonObject) -> GoalUpdated:
    return GoalUpdated(thread_id(p), maybe_turn_id(p), read_goal(needed(p, "goal")))


def _goal_cleared(p: JsonObject) -> GoalCleared:
    return GoalCleared(thread_id(p))


def _thread_name_updated(p: JsonObject) -> ThreadNameUpdated:
    return ThreadNameUpdated(thread_id(p), maybe_text(p, "threadName"))


def _thread_started(p: JsonObject) -> ThreadStarted:
    return ThreadStarted(read_thread(needed(p, "thread")))


def _thread_closed(p: JsonObject) -> ThreadClosed:
    return ThreadClosed(thread_id(p))


EVENT_READERS: dict[str, Callable[[JsonObject], Event]] = {
    "turn/started": _turn_started,
    "turn/completed": _turn_completed,
    "item/started": _item_started,
    "item/completed": _item_completed,
    "item/agentMessage/delta": _delta(AgentMessageDelta),
    "item/plan/delta": _delta(PlanDelta),
    "item/reasoning/summaryTextDelta": _delta(ReasoningSummaryDelta),
    "item/commandExecution/outputDelta": _delta(CommandOutputDelta),
    "item/mcpToolCall/progress": _mcp_tool_call_progressed,
    "thread/tokenUsage/updated": _token_usage_updated,
    "turn/plan/updated": _checklist_updated,
    "turn/diff/updated": _diff_updated,
    "thread/status/changed": _thread_status_changed,
    "error": _error_reported,
    "serverRequest/resolved": _server_request_resolved,
    "model/rerouted": _model_rerouted,
    "warning": _warning_raised,
    "guardianWarning": _warning_raised,
    "deprecationNotice": _notice_raised,
    "configWarning": _notice_raised,
    "thread/goal/updated": _goal_updated,
    "thread/goal/cleared": _goal_cleared,
    "thread/name/updated": _thread_name_updated,
    "thread/started": _thread_started,
    "thread/closed": _thread_closed,
}
