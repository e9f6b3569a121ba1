"""What Codex has: threads, turns, items, models, projects, as it shows them in answers and events.

Not a mirror of the protocol: only what someone here uses or a person wants to see. Long output
and diffs are counted, not kept. An item of a kind that is not listed is an `OtherItem` with its raw
form.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from codex_control_plane_mcp.codex.words.reading import (
    Odd,
    flag,
    inner,
    listed,
    maybe_text,
    needed,
    objects,
    tag,
    text,
    texts,
    whole,
)
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.rpc.values import Json, JsonObject

T = TypeVar("T")


# Items


@dataclass(frozen=True, slots=True)
class UserMessage:
    id: str
    #: The `client_user_message_id` of the `turn/start` that brought it.
    client_id: str | None
    text: str
    attachment_count: int


@dataclass(frozen=True, slots=True)
class AgentMessage:
    id: str
    text: str
    #: `commentary`, `partial_answer`, `final_answer`, or not said.
    phase: str | None


@dataclass(frozen=True, slots=True)
class ProposedPlan:
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    id: str
    summary: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommandExecution:
    id: str
    command: str
    cwd: str | None
    #: `inProgress`, `completed`, `failed`, `declined`.
    status: str
    exit_code: int | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class ChangedFile:
    path: str
    #: `add`, `delete`, `update`.
    kind: str | None
    added_lines: int
    removed_lines: int
    #: As Codex told it: a unified diff, or the text of a new file.
    diff: str = ""


@dataclass(frozen=True, slots=True)
class FileChange:
    id: str
    #: `inProgress`, `completed`, `failed`, `declined`.
    status: str
    files: tuple[ChangedFile, ...]


@dataclass(frozen=True, slots=True)
class McpToolCall:
    id: str
    server: str
    tool: str
    #: `inProgress`, `completed`, `failed`.
    status: str
    error: str | None


@dataclass(frozen=True, slots=True)
class ContextCompaction:
    id: str


@dataclass(frozen=True, slots=True)
class EnteredReviewMode:
    id: str
    #: What is reviewed, in words.
    review: str


@dataclass(frozen=True, slots=True)
class ExitedReviewMode:
    id: str
    #: The review itself.
    review: str


@dataclass(frozen=True, slots=True)
class OtherItem:
    """A kind that nobody here reads, or one that does not look as it should."""

    id: str
    kind: str
    raw: JsonObject


Item = (
    UserMessage
    | AgentMessage
    | ProposedPlan
    | Reasoning
    | CommandExecution
    | FileChange
    | McpToolCall
    | ContextCompaction
    | EnteredReviewMode
    | ExitedReviewMode
    | OtherItem
)


def read_item(raw: JsonObject) -> Item:
    """Any item. Never raises: what is odd becomes an `OtherItem`."""
    kind = maybe_text(raw, "type") or ""
    try:
        reader = _ITEM_READERS.get(kind)
        if reader is not None:
            return reader(raw)
    except Odd:
        pass
    return OtherItem(id=maybe_text(raw, "id") or "", kind=kind, raw=raw)


def _user_message(raw: JsonObject) -> UserMessage:
    content = objects(raw, "content")
    spoken = [text(part, "text") for part in content if part.get("type") == "text"]
    return UserMessage(
        id=text(raw, "id"),
        client_id=maybe_text(raw, "clientId"),
        text="\n".join(spoken),
        attachment_count=len(content) - len(spoken),
    )


def _agent_message(raw: JsonObject) -> AgentMessage:
    return AgentMessage(text(raw, "id"), text(raw, "text"), maybe_text(raw, "phase"))


def _proposed_plan(raw: JsonObject) -> ProposedPlan:
    return ProposedPlan(text(raw, "id"), text(raw, "text"))


def _reasoning(raw: JsonObject) -> Reasoning:
    return Reasoning(text(raw, "id"), texts(raw, "summary"))


def _command_execution(raw: JsonObject) -> CommandExecution:
    return CommandExecution(
        id=text(raw, "id"),
        command=text(raw, "command"),
        cwd=maybe_text(raw, "cwd"),
        status=text(raw, "status"),
        exit_code=whole(raw, "exitCode"),
        duration_ms=whole(raw, "durationMs"),
    )


def _file_change(raw: JsonObject) -> FileChange:
    return FileChange(
        text(raw, "id"),
        text(raw, "status"),
        tuple(read_changed_file(change) for change in objects(raw, "changes")),
    )


def read_changed_file(raw: JsonObject) -> ChangedFile:
    diff = maybe_text(raw, "diff") or ""
    added, removed = count_lines(diff)
    return ChangedFile(
        maybe_text(raw, "path") or "", maybe_text(inner(raw, "kind"), "type"), added, removed, diff
    )


def count_lines(diff: str) -> tuple[int, int]:
    """Added and removed lines of a unified diff."""
    lines = diff.splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    return added, removed


def _mcp_tool_call(raw: JsonObject) -> McpToolCall:
    return McpToolCall(
        id=text(raw, "id"),
        server=text(raw, "server"),
        tool=text(raw, "tool"),
        status=text(raw, "status"),
        error=maybe_text(inner(raw, "error"), "message"),
    )


def _context_compaction(raw: JsonObject) -> ContextCompaction:
    return ContextCompaction(text(raw, "id"))


def _entered_review_mode(raw: JsonObject) -> EnteredReviewMode:
    return EnteredReviewMode(text(raw, "id"), text(raw, "review"))


def _exited_review_mode(raw: JsonObject) -> ExitedReviewMode:
    return ExitedReviewMode(text(raw, "id"), text(raw, "review"))


_ITEM_READERS: dict[str, Callable[[JsonObject], Item]] = {
    "userMessage": _user_message,
    "agentMessage": _agent_message,
    "plan": _proposed_plan,
    "reasoning": _reasoning,
    "commandExecution": _command_execution,
    "fileChange": _file_change,
    "mcpToolCall": _mcp_tool_call,
    "contextCompaction": _context_compaction,
    "enteredReviewMode": _entered_review_mode,
    "exitedReviewMode": _exited_review_mode,
}
#: The kinds that are read; every other is an `OtherItem`.
ITEM_KINDS = frozenset(_ITEM_READERS)


# Turns


@dataclass(frozen=True, slots=True)
class TurnError:
    message: str
    #: Codex's own code, e.g. `usageLimitExceeded`.
    code: str | None
    details: str | None


def read_turn_error(raw: JsonObject) -> TurnError:
    return TurnError(
        message=maybe_text(raw, "message") or "Codex gave no reason",
        code=tag(raw, "codexErrorInfo"),
        details=maybe_text(raw, "additionalDetails"),
    )


@dataclass(frozen=True, slots=True)
class Turn:
    id: TurnId
    #: `inProgress`, `completed`, `interrupted`, `failed`.
    status: str
    items: tuple[Item, ...]
    #: `full`, `summary` or `notLoaded`: whether `items` is all there is.
    items_view: str
    error: TurnError | None
    #: A review runs in a child turn that names the turn which was answered to `review/start`.
    root_turn_id: TurnId | None
    #: Seconds since 1970.
    started_at: int | None
    completed_at: int | None

    @property
    def final_message(self) -> AgentMessage | None:
        """The last thing that the agent said in `items`, preferably as its answer."""
        said = [item for item in self.items if isinstance(item, AgentMessage)]
        answers = [item for item in said if item.phase == "final_answer"]
        candidates = answers or said
        return candidates[-1] if candidates else None

    def was_asked_with(self, client_user_message_id: str) -> bool:
        """Whether a user message in `items` bears this id."""
        return any(
            isinstance(item, UserMessage) and item.client_id == client_user_message_id
            for item in self.items
        )


def read_turn(raw: JsonObject) -> Turn:
    error = raw.get("error")
    root = maybe_text(raw, "rootTurnId")
    return Turn(
        id=TurnId(text(raw, "id")),
        status=text(raw, "status"),
        items=tuple(read_item(item) for item in objects(raw, "items")),
        items_view=maybe_text(raw, "itemsView") or "full",
        error=read_turn_error(error) if isinstance(error, dict) else None,
        root_turn_id=TurnId(root) if root else None,
        started_at=whole(raw, "startedAt"),
        completed_at=whole(raw, "completedAt"),
    )


# Threads


@dataclass(frozen=True, slots=True)
class ThreadStatus:
    #: `notLoaded`, `idle`, `systemError`, `active`; "" when Codex did not say.
    kind: str
    #: While active: `waitingOnApproval`, `waitingOnUserInput`.
    flags: tuple[str, ...] = ()


def read_thread_status(raw: JsonObject) -> ThreadStatus:
    return ThreadStatus(maybe_text(raw, "type") or "", texts(raw, "activeFlags"))


@dataclass(frozen=True, slots=True)
class Thread:
    id: ThreadId
    cwd: str
    status: ThreadStatus
    name: str | None
    #: The first user message, shortened by Codex.
    preview: str
    model: str | None
    model_provider: str | None
    ephemeral: bool
    #: `cli`, `vscode`, `exec`, `appServer`, ...
    source: str | None
    path: str | None
    parent_thread_id: ThreadId | None
    forked_from_id: ThreadId | None
    project_id: str | None
    #: Seconds since 1970.
    created_at: int | None
    updated_at: int | None
    turns: tuple[Turn, ...]

    @property
    def is_archived(self) -> bool:
        """Codex says it only by the folder that it keeps the thread in."""
        return "archived_sessions" in re.split(r"[/\\]", self.path or "")


def read_thread(raw: JsonObject) -> Thread:
    return Thread(
        id=ThreadId(text(raw, "id")),
        cwd=text(raw, "cwd"),
        status=read_thread_status(inner(raw, "status")),
        name=maybe_text(raw, "name"),
        preview=maybe_text(raw, "preview") or "",
        model=maybe_text(raw, "model"),
        model_provider=maybe_text(raw, "modelProvider"),
        ephemeral=flag(raw, "ephemeral"),
        source=tag(raw, "source"),
        path=maybe_text(raw, "path"),
        parent_thread_id=_other_thread(raw, "parentThreadId"),
        forked_from_id=_other_thread(raw, "forkedFromId"),
        project_id=maybe_text(raw, "projectId"),
        created_at=whole(raw, "createdAt"),
        updated_at=whole(raw, "updatedAt"),
        turns=tuple(read_turn(turn) for turn in objects(raw, "turns")),
    )


def _other_thread(raw: JsonObject, key: str) -> ThreadId | None:
    value = maybe_text(raw, key)
    return None if value is None else ThreadId(value)


@dataclass(frozen=True, slots=True)
class SandboxInForce:
    """The sandbox that a thread really has."""

    #: `readOnly`, `workspaceWrite`, `dangerFullAccess`, `externalSandbox`.
    kind: str
    network_access: bool
    writable_roots: tuple[str, ...]
    raw: JsonObject


def read_sandbox(raw: JsonObject) -> SandboxInForce:
    return SandboxInForce(
        kind=text(raw, "type"),
        # externalSandbox says "restricted" or "enabled", the others true or false.
        network_access=raw.get("networkAccess") in (True, "enabled"),
        writable_roots=texts(raw, "writableRoots"),
        raw=raw,
    )


@dataclass(frozen=True, slots=True)
class ThreadInForce:
    """A thread as started, resumed or forked, with the settings that Codex says it has."""

    thread: Thread
    cwd: str
    model: str
    model_provider: str | None
    reasoning_effort: str | None
    #: `untrusted`, `on-request`, `never`, or `granular`.
    approval_policy: str
    sandbox: SandboxInForce
    #: `plan` or `default`; `None` when Codex did not say.
    collaboration_mode: str | None


def read_thread_in_force(raw: JsonObject) -> ThreadInForce:
    return ThreadInForce(
        thread=read_thread(needed(raw, "thread")),
        cwd=text(raw, "cwd"),
        model=text(raw, "model"),
        model_provider=maybe_text(raw, "modelProvider"),
        reasoning_effort=maybe_text(raw, "reasoningEffort"),
        approval_policy=tag(raw, "approvalPolicy") or "",
        sandbox=read_sandbox(needed(raw, "sandbox")),
        collaboration_mode=maybe_text(inner(raw, "collaborationMode"), "mode"),
    )


@dataclass(frozen=True, slots=True)
class ReviewStarted:
    turn: Turn
    #: The thread that the review runs in: the same one when inline.
    review_thread_id: ThreadId


def read_review_started(raw: JsonObject) -> ReviewStarted:
    return ReviewStarted(read_turn(needed(raw, "turn")), ThreadId(text(raw, "reviewThreadId")))


@dataclass(frozen=True, slots=True)
class Goal:
    objective: str
    #: `active`, `paused`, `blocked`, `usageLimited`, `budgetLimited`, `complete`.
    status: str
    token_budget: int | None
    tokens_used: int
    time_used_seconds: int


def read_goal(raw: JsonObject) -> Goal:
    return Goal(
        objective=text(raw, "objective"),
        status=text(raw, "status"),
        token_budget=whole(raw, "tokenBudget"),
        tokens_used=whole(raw, "tokensUsed") or 0,
        time_used_seconds=whole(raw, "timeUsedSeconds") or 0,
    )


@dataclass(frozen=True, slots=True)
class TokenUsage:
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_output_tokens: int
    total_tokens: int


def read_token_usage(raw: JsonObject) -> TokenUsage:
    return TokenUsage(
        input_tokens=whole(raw, "inputTokens") or 0,
        cached_input_tokens=whole(raw, "cachedInputTokens") or 0,
        output_tokens=whole(raw, "outputTokens") or 0,
        reasoning_output_tokens=whole(raw, "reasoningOutputTokens") or 0,
        total_tokens=whole(raw, "totalTokens") or 0,
    )


# What there is


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; `next_cursor` asks for the following part."""

    data: tuple[T, ...]
    next_cursor: str | None
    #: Asks for what lies the other way, beginning with the first entry of this part; and for this
    #: part again.
    backwards_cursor: str | None = None


def read_page(raw: JsonObject, read: Callable[[JsonObject], T]) -> Page[T]:
    """A page, without the entries that cannot be read."""
    return Page(tuple(_readable(raw, read)), maybe_text(raw, "nextCursor"))


def read_page_both_ways(raw: JsonObject, read: Callable[[JsonObject], T]) -> Page[T]:
    """A page of a list that Codex also turns round."""
    return replace(read_page(raw, read), backwards_cursor=maybe_text(raw, "backwardsCursor"))


def _readable(raw: JsonObject, read: Callable[[JsonObject], T]) -> list[T]:
    found: list[T] = []
    for entry in objects(raw, "data"):
        try:
            found.append(read(entry))
        except Odd:
            continue
    return found


@dataclass(frozen=True, slots=True)
class FoundThread:
    thread: Thread
    snippet: str


def read_found_thread(raw: JsonObject) -> FoundThread:
    return FoundThread(read_thread(needed(raw, "thread")), maybe_text(raw, "snippet") or "")


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    name: str
    roots: tuple[str, ...]
    #: Seconds since 1970.
    recency_at: int | None


def read_project(raw: JsonObject) -> Project:
    return Project(
        id=text(raw, "id"),
        name=maybe_text(raw, "name") or "",
        roots=tuple(text(root, "path") for root in objects(raw, "roots")),
        recency_at=whole(raw, "recencyAt"),
    )


@dataclass(frozen=True, slots=True)
class Model:
    id: str
    #: What to give as `model`.
    model: str
    display_name: str
    is_default: bool
    hidden: bool
    input_modalities: tuple[str, ...]
    supported_reasoning_efforts: tuple[str, ...]
    default_reasoning_effort: str | None
    service_tier_count: int


def read_model(raw: JsonObject) -> Model:
    return Model(
        id=text(raw, "id"),
        model=maybe_text(raw, "model") or text(raw, "id"),
        display_name=maybe_text(raw, "displayName") or text(raw, "id"),
        is_default=flag(raw, "isDefault"),
        hidden=flag(raw, "hidden"),
        input_modalities=texts(raw, "inputModalities"),
        supported_reasoning_efforts=tuple(
            text(effort, "reasoningEffort") for effort in objects(raw, "supportedReasoningEfforts")
        ),
        default_reasoning_effort=maybe_text(raw, "defaultReasoningEffort"),
        service_tier_count=len(listed(raw, "serviceTiers")),
    )


@dataclass(frozen=True, slots=True)
class Hook:
    key: str
    event_name: str
    command: str | None
    current_hash: str | None
    #: `trusted`, `untrusted`, `modified`, `managed`: an untrusted hook does not run.
    trust_status: str | None
    enabled: bool


def read_hook(raw: JsonObject) -> Hook:
    return Hook(
        key=text(raw, "key"),
        event_name=maybe_text(raw, "eventName") or "",
        command=maybe_text(raw, "command"),
        current_hash=maybe_text(raw, "currentHash"),
        trust_status=maybe_text(raw, "trustStatus"),
        enabled=flag(raw, "enabled"),
    )


def read_hooks(raw: JsonObject) -> tuple[Hook, ...]:
    """The hooks of every folder that was asked about, each once."""
    hooks = {}
    for entry in objects(raw, "data"):
        for hook in objects(entry, "hooks"):
            hooks[text(hook, "key")] = read_hook(hook)
    return tuple(hooks.values())


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    #: None: it was ended from outside.
    exit_code: int | None
    stderr: str


def read_ended(raw: JsonObject) -> Ended:
    return Ended(whole(raw, "exitCode"), text(raw, "stderr"))


def count_skills(raw: JsonObject) -> int:
    """How many skills may be used, in the folders that were asked about."""
    return len(
        {
            text(skill, "path")
            for entry in objects(raw, "data")
            for skill in objects(entry, "skills")
            if flag(skill, "enabled")
        }
    )


@dataclass(frozen=True, slots=True)
class PermissionProfile:
    """A named set of permissions; `:read-only`, `:workspace` and `:danger-full-access` are
    Codex's own."""

    id: str
    description: str | None
    #: Whether whoever administers this machine lets it be chosen.
    allowed: bool


def read_permission_profile(raw: JsonObject) -> PermissionProfile:
    return PermissionProfile(
        text(raw, "id"), maybe_text(raw, "description"), raw.get("allowed") is not False
    )


@dataclass(frozen=True, slots=True)
class ProviderCapabilities:
    """What the model provider can do; `None`: this Codex does not say."""

    web_search: bool | None
    image_generation: bool | None
    namespace_tools: bool | None


def read_provider_capabilities(raw: JsonObject) -> ProviderCapabilities:
    return ProviderCapabilities(
        _maybe_flag(raw, "webSearch"),
        _maybe_flag(raw, "imageGeneration"),
        _maybe_flag(raw, "namespaceTools"),
    )


def _maybe_flag(raw: JsonObject, key: str) -> bool | None:
    value = raw.get(key)
    return value if isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class RateLimitWindow:
    #: `primary` or `secondary`.
    name: str
    used_percent: int
    window_minutes: int | None
    #: Seconds since 1970.
    resets_at: int | None


def read_rate_limits(raw: JsonObject) -> tuple[RateLimitWindow, ...]:
    """How much of each window is used up. Balances and credits are passed over."""
    limits = needed(raw, "rateLimits")
    return tuple(
        RateLimitWindow(
            name,
            whole(window, "usedPercent") or 0,
            whole(window, "windowDurationMins"),
            whole(window, "resetsAt"),
        )
        for name in ("primary", "secondary")
        if (window := inner(limits, name))
    )


@dataclass(frozen=True, slots=True)
class Requirements:
    """What whoever administers this machine allows; `None`: everything."""

    sandbox_modes: tuple[str, ...] | None
    approval_policies: tuple[str, ...] | None


def read_requirements(raw: JsonObject) -> Requirements:
    stated = inner(raw, "requirements")
    return Requirements(
        _allowed(stated, "allowedSandboxModes"), _allowed(stated, "allowedApprovalPolicies")
    )


def _allowed(stated: JsonObject, key: str) -> tuple[str, ...] | None:
    return texts(stated, key) if isinstance(stated.get(key), list) else None


@dataclass(frozen=True, slots=True)
class Diagnostics:
    pid: int | None
    resident_memory_bytes: int | None
    gauges: dict[str, int]

    @property
    def active_turns(self) -> int | None:
        return self.gauges.get("core.turns.active")


def read_diagnostics(raw: JsonObject) -> Diagnostics:
    process = inner(raw, "process")
    gauges = {}
    for gauge in objects(raw, "gauges"):
        gauges[text(gauge, "name")] = whole(gauge, "value") or 0
    return Diagnostics(whole(process, "id"), whole(process, "residentMemoryBytes"), gauges)


@dataclass(frozen=True, slots=True)
class Account:
    #: `apiKey`, `chatgpt`, ...; `None` when nobody is logged in.
    kind: str | None
    plan_type: str | None
    requires_openai_auth: bool


def read_account(raw: JsonObject) -> Account:
    account = inner(raw, "account")
    return Account(
        maybe_text(account, "type"),
        maybe_text(account, "planType"),
        flag(raw, "requiresOpenaiAuth"),
    )


@dataclass(frozen=True, slots=True)
class Handshake:
    """The answer to `initialize`."""

    user_agent: str
    codex_home: str | None
    platform: str | None

    @property
    def version(self) -> str | None:
        """Codex's version: the user agent begins `CLIENT/VERSION (`."""
        name, slash, rest = self.user_agent.partition("/")
        return rest.split(" ", 1)[0] if name and slash and rest else None


def read_handshake(raw: JsonObject) -> Handshake:
    return Handshake(
        text(raw, "userAgent"), maybe_text(raw, "codexHome"), maybe_text(raw, "platformOs")
    )


def as_object(raw: Json) -> JsonObject:
    """An answer that must be an object."""
    if not isinstance(raw, dict):
        raise Odd("the answer is not an object")
    return raw
