"""What Codex asks of us: the eleven server requests, as what a person must judge.

The answers to them are built in `answers`. A request that nobody here can answer, or that does not
look as it should, is `NotOurs` and is refused with a JSON-RPC error, never answered with `{}`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from codex_control_plane_mcp.codex.words.events import RequestId
from codex_control_plane_mcp.codex.words.reading import (
    Odd,
    flag,
    inner,
    listed,
    maybe_text,
    maybe_thread_id,
    maybe_turn_id,
    needed,
    objects,
    text,
    texts,
    thread_id,
    whole,
)
from codex_control_plane_mcp.codex.words.things import ChangedFile, count_lines
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.rpc.values import Json, JsonObject

#: On offer when Codex does not list its decisions.
USUAL_DECISIONS: tuple[Json, ...] = ("accept", "acceptForSession", "decline", "cancel")


@dataclass(frozen=True, slots=True)
class CommandApproval:
    """May this command run?"""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    command: str | None
    cwd: str | None
    reason: str | None
    #: Names, or an object whose only key is the name.
    available_decisions: tuple[Json, ...]
    #: Tells apart several approvals for one item.
    approval_id: str | None
    #: `host` when the network is asked for.
    network_host: str | None
    #: `{fileSystem, network}`: what the command wants beyond its sandbox.
    additional_permissions: JsonObject
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class FileChangeApproval:
    """May these files be changed? The changes are in the item that `item_id` names."""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    reason: str | None
    #: A folder that writing would be allowed to for the session.
    grant_root: str | None
    available_decisions: tuple[Json, ...]
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class PermissionsApproval:
    """May the turn have these permissions?"""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    cwd: str | None
    reason: str | None
    #: `{fileSystem, network}` as asked for.
    permissions: JsonObject
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class Option:
    label: str
    description: str


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    header: str
    question: str
    options: tuple[Option, ...]
    #: Whether words of one's own are welcome beside the options.
    is_other: bool
    #: The answer must not be shown or stored in clear.
    is_secret: bool


@dataclass(frozen=True, slots=True)
class UserInputRequested:
    """The agent asks the user."""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    questions: tuple[Question, ...]
    is_blocking: bool
    #: Codex goes on without an answer after this long.
    auto_resolution_ms: int | None
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class ElicitationRequested:
    """An MCP server asks the user, or Codex asks whether an MCP tool may be called."""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    server_name: str
    #: `form`, `url`, `openai/form`, `openai/userVerification`, ...
    mode: str
    message: str
    url: str | None
    #: JSON schema of the content that `accept` must bring; empty when none is asked for.
    requested_schema: JsonObject
    #: Codex's own question whether a tool may be called; nothing from the server.
    is_tool_approval: bool
    #: How long an accept may be remembered: `session`, `always`.
    persist_offers: tuple[str, ...]
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class LegacyExecApproval:
    """`CommandApproval` in the form of older protocols."""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    command: str
    cwd: str | None
    reason: str | None
    available_decisions: tuple[Json, ...]
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class LegacyPatchApproval:
    """`FileChangeApproval` in the form of older protocols; it brings the changes along."""

    request_id: RequestId
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    files: tuple[ChangedFile, ...]
    reason: str | None
    grant_root: str | None
    available_decisions: tuple[Json, ...]
    raw: JsonObject


@dataclass(frozen=True, slots=True)
class NotOurs:
    """A request that we cannot answer; the session refuses it by itself."""

    request_id: RequestId
    thread_id: ThreadId | None
    method: str
    raw: Json


Answerable = (
    CommandApproval
    | FileChangeApproval
    | PermissionsApproval
    | UserInputRequested
    | ElicitationRequested
    | LegacyExecApproval
    | LegacyPatchApproval
)
ServerRequest = Answerable | NotOurs

#: Known, and rightly refused: no tools, tokens, attestation or clock of ours.
REFUSED_METHODS: tuple[str, ...] = (
    "item/tool/call",
    "account/chatgptAuthTokens/refresh",
    "attestation/generate",
    "currentTime/read",
)


def read_server_request(request_id: RequestId, method: str, params: Json) -> ServerRequest:
    """Any server request. Never raises."""
    reader = QUESTION_READERS.get(method)
    if reader is not None and isinstance(params, dict):
        try:
            return reader(request_id, params)
        except Odd:
            pass
    thread = maybe_thread_id(params) if isinstance(params, dict) else None
    return NotOurs(request_id, thread, method, params)


def method_of(question: Answerable) -> str:
    """The wire's name for this kind of question; it is part of the public interaction."""
    return _METHODS[type(question)]


def _command_approval(request_id: RequestId, p: JsonObject) -> CommandApproval:
    return CommandApproval(
        request_id=request_id,
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        item_id=maybe_text(p, "itemId"),
        command=maybe_text(p, "command"),
        cwd=maybe_text(p, "cwd"),
        reason=maybe_text(p, "reason"),
        available_decisions=_decisions(p),
        approval_id=maybe_text(p, "approvalId"),
        network_host=maybe_text(inner(p, "networkApprovalContext"), "host"),
        additional_permissions=inner(p, "additionalPermissions"),
        raw=p,
    )


def _decisions(p: JsonObject) -> tuple[Json, ...]:
    """What Codex lists, and `decline`: Codex takes it also where it lists only `cancel`, which
    would end the whole turn, and a plain "no" must always be possible."""
    listed_ones = [one for one in listed(p, "availableDecisions") if isinstance(one, str | dict)]
    if not listed_ones:
        return USUAL_DECISIONS
    return (*listed_ones, *(() if "decline" in listed_ones else ("decline",)))


def _file_change_approval(request_id: RequestId, p: JsonObject) -> FileChangeApproval:
    return FileChangeApproval(
        request_id=request_id,
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        item_id=maybe_text(p, "itemId"),
        reason=maybe_text(p, "reason"),
        grant_root=maybe_text(p, "grantRoot"),
        available_decisions=USUAL_DECISIONS,
        raw=p,
    )


def _permissions_approval(request_id: RequestId, p: JsonObject) -> PermissionsApproval:
    return PermissionsApproval(
        request_id=request_id,
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        item_id=maybe_text(p, "itemId"),
        cwd=maybe_text(p, "cwd"),
        reason=maybe_text(p, "reason"),
        permissions=needed(p, "permissions"),
        raw=p,
    )


def _user_input_requested(request_id: RequestId, p: JsonObject) -> UserInputRequested:
    return UserInputRequested(
        request_id=request_id,
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        item_id=maybe_text(p, "itemId"),
        questions=tuple(_question(question) for question in objects(p, "questions")),
        is_blocking=p.get("isBlocking") is not False,
        auto_resolution_ms=whole(p, "autoResolutionMs"),
        raw=p,
    )


def _question(p: JsonObject) -> Question:
    return Question(
        id=text(p, "id"),
        header=maybe_text(p, "header") or "",
        question=text(p, "question"),
        options=tuple(
            Option(text(option, "label"), maybe_text(option, "description") or "")
            for option in objects(p, "options")
        ),
        is_other=flag(p, "isOther"),
        is_secret=flag(p, "isSecret"),
    )


def _elicitation_requested(request_id: RequestId, p: JsonObject) -> ElicitationRequested:
    meta = inner(p, "_meta")
    persist = maybe_text(meta, "persist")
    return ElicitationRequested(
        request_id=request_id,
        thread_id=thread_id(p),
        turn_id=maybe_turn_id(p),
        item_id=None,
        server_name=text(p, "serverName"),
        mode=text(p, "mode"),
        message=maybe_text(p, "message") or _title_and_description(p),
        url=maybe_text(p, "url"),
        requested_schema=inner(p, "requestedSchema"),
        is_tool_approval=maybe_text(meta, "codex_approval_kind") == "mcp_tool_call",
        persist_offers=(persist,) if persist else texts(meta, "persist"),
        raw=p,
    )


def _title_and_description(p: JsonObject) -> str:
    parts = (maybe_text(p, "title"), maybe_text(p, "description"))
    return ": ".join(part for part in parts if part)


def _legacy_exec_approval(request_id: RequestId, p: JsonObject) -> LegacyExecApproval:
    return LegacyExecApproval(
        request_id=request_id,
        thread_id=ThreadId(text(p, "conversationId")),
        turn_id=None,
        item_id=maybe_text(p, "callId"),
        command=" ".join(texts(p, "command")),
        cwd=maybe_text(p, "cwd"),
        reason=maybe_text(p, "reason"),
        available_decisions=USUAL_DECISIONS,
        raw=p,
    )


def _legacy_patch_approval(request_id: RequestId, p: JsonObject) -> LegacyPatchApproval:
    changes = inner(p, "fileChanges").items()
    return LegacyPatchApproval(
        request_id=request_id,
        thread_id=ThreadId(text(p, "conversationId")),
        turn_id=None,
        item_id=maybe_text(p, "callId"),
        files=tuple(_legacy_change(path, c) for path, c in changes if isinstance(c, dict)),
        reason=maybe_text(p, "reason"),
        grant_root=maybe_text(p, "grantRoot"),
        available_decisions=USUAL_DECISIONS,
        raw=p,
    )


def _legacy_change(path: str, change: JsonObject) -> ChangedFile:
    kind = maybe_text(change, "type")
    if kind == "update":
        return ChangedFile(path, kind, *count_lines(maybe_text(change, "unified_diff") or ""))
    length = len((maybe_text(change, "content") or "").splitlines())
    return ChangedFile(path, kind, *((length, 0) if kind == "add" else (0, length)))


QUESTION_READERS: dict[str, Callable[[RequestId, JsonObject], Answerable]] = {
    "item/commandExecution/requestApproval": _command_approval,
    "item/fileChange/requestApproval": _file_change_approval,
    "item/permissions/requestApproval": _permissions_approval,
    "item/tool/requestUserInput": _user_input_requested,
    "mcpServer/elicitation/request": _elicitation_requested,
    "execCommandApproval": _legacy_exec_approval,
    "applyPatchApproval": _legacy_patch_approval,
}
_METHODS: dict[type[Answerable], str] = {
    CommandApproval: "item/commandExecution/requestApproval",
    FileChangeApproval: "item/fileChange/requestApproval",
    PermissionsApproval: "item/permissions/requestApproval",
    UserInputRequested: "item/tool/requestUserInput",
    ElicitationRequested: "mcpServer/elicitation/request",
    LegacyExecApproval: "execCommandApproval",
    LegacyPatchApproval: "applyPatchApproval",
}
