"""What we say to Codex: one frozen dataclass for each call, with its wire form.

Not here: what comes back (`things`), and the answers to what Codex asks (`answers`).
A field left `None` is not sent, and Codex then keeps what the thread or its config has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal, Protocol

from codex_control_plane_mcp.codex.words.reading import present
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.rpc.values import Sendable

Wire = Mapping[str, Sendable]
SandboxMode = Literal["read-only", "workspace-write", "danger-full-access"]
ApprovalPolicy = Literal["untrusted", "on-request", "never"]
ItemsView = Literal["notLoaded", "summary", "full"]
SortDirection = Literal["asc", "desc"]
ImageDetail = Literal["auto", "low", "high", "original"]


class Verb(Protocol):
    """One call."""

    @property
    def method(self) -> str: ...

    def to_wire(self) -> Wire | None: ...


# What a turn is made of


@dataclass(frozen=True, slots=True)
class Text:
    text: str

    def to_wire(self) -> Wire:
        return {"type": "text", "text": self.text, "text_elements": []}


@dataclass(frozen=True, slots=True)
class LocalImage:
    path: str
    detail: ImageDetail | None = None

    def to_wire(self) -> Wire:
        return present(type="localImage", path=self.path, detail=self.detail)


@dataclass(frozen=True, slots=True)
class ImageUrl:
    url: str
    detail: ImageDetail | None = None

    def to_wire(self) -> Wire:
        return present(type="image", url=self.url, detail=self.detail)


@dataclass(frozen=True, slots=True)
class Skill:
    name: str
    path: str

    def to_wire(self) -> Wire:
        return {"type": "skill", "name": self.name, "path": self.path}


@dataclass(frozen=True, slots=True)
class Mention:
    name: str
    path: str

    def to_wire(self) -> Wire:
        return {"type": "mention", "name": self.name, "path": self.path}


InputItem = Text | LocalImage | ImageUrl | Skill | Mention


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """May read everything and write nothing."""

    network_access: bool = False

    def to_wire(self) -> Wire:
        return {"type": "readOnly", "networkAccess": self.network_access}


@dataclass(frozen=True, slots=True)
class WorkspaceWrite:
    """May write in the turn's cwd, in `writable_roots` and in temporary folders."""

    writable_roots: tuple[str, ...] = ()
    network_access: bool = False
    exclude_slash_tmp: bool = False
    exclude_tmpdir_env_var: bool = False

    def to_wire(self) -> Wire:
        return {
            "type": "workspaceWrite",
            "writableRoots": self.writable_roots,
            "networkAccess": self.network_access,
            "excludeSlashTmp": self.exclude_slash_tmp,
            "excludeTmpdirEnvVar": self.exclude_tmpdir_env_var,
        }


@dataclass(frozen=True, slots=True)
class DangerFullAccess:
    """No sandbox."""

    def to_wire(self) -> Wire:
        return {"type": "dangerFullAccess"}


SandboxPolicy = ReadOnly | WorkspaceWrite | DangerFullAccess


def policy_for(mode: SandboxMode) -> SandboxPolicy:
    """The policy that a turn needs to run in `mode`: `turn/start` knows no mode names."""
    match mode:
        case "read-only":
            return ReadOnly()
        case "workspace-write":
            return WorkspaceWrite()
        case "danger-full-access":
            return DangerFullAccess()


@dataclass(frozen=True, slots=True)
class CollaborationMode:
    """Plan or default. `model` wins over the thread's model: pass the model that the thread has."""

    mode: Literal["plan", "default"]
    model: str
    reasoning_effort: str | None = None

    def to_wire(self) -> Wire:
        return {
            "mode": self.mode,
            "settings": {
                "model": self.model,
                "reasoning_effort": self.reasoning_effort,
                "developer_instructions": None,
            },
        }


def _wire(part: SandboxPolicy | CollaborationMode | None) -> Wire | None:
    return None if part is None else part.to_wire()


# The handshake


@dataclass(frozen=True, slots=True)
class Initialize:
    method: ClassVar[str] = "initialize"
    name: str
    title: str
    version: str
    #: Notifications that this connection does not want at all.
    unwanted: tuple[str, ...] = ()

    def to_wire(self) -> Wire:
        return {
            "clientInfo": {"name": self.name, "title": self.title, "version": self.version},
            "capabilities": {
                "experimentalApi": True,
                "optOutNotificationMethods": self.unwanted,
            },
        }


#: The notification that ends the handshake.
INITIALIZED = "initialized"

#: What nobody here reads. Command output is wanted: it is a sign of life.
UNWANTED = (
    "item/reasoning/textDelta",
    "command/exec/outputDelta",
    "process/outputDelta",
    "thread/realtime/outputAudio/delta",
    "item/fileChange/outputDelta",
    "item/reasoning/summaryPartAdded",
    "account/rateLimits/updated",
    "remoteControl/status/changed",
    "thread/readState/changed",
)


# Threads


@dataclass(frozen=True, slots=True)
class StartThread:
    """A new thread. It is not on disk before its first turn."""

    method: ClassVar[str] = "thread/start"
    cwd: str
    sandbox: SandboxMode | None = None
    approval_policy: ApprovalPolicy | None = None
    model: str | None = None
    ephemeral: bool | None = None
    #: Config overrides, e.g. `{"model_reasoning_effort": "high"}`: `thread/start` has no effort.
    config: Mapping[str, Sendable] | None = None
    developer_instructions: str | None = None
    project_id: str | None = None

    def to_wire(self) -> Wire:
        return present(
            cwd=self.cwd,
            sandbox=self.sandbox,
            approvalPolicy=self.approval_policy,
            model=self.model,
            ephemeral=self.ephemeral,
            config=self.config,
            developerInstructions=self.developer_instructions,
            projectId=self.project_id,
        )


@dataclass(frozen=True, slots=True)
class ResumeThread:
    """Load a thread and subscribe to it; pending requests are sent again. Never loads its turns."""

    method: ClassVar[str] = "thread/resume"
    thread_id: ThreadId
    cwd: str | None = None
    sandbox: SandboxMode | None = None
    approval_policy: ApprovalPolicy | None = None
    model: str | None = None
    config: Mapping[str, Sendable] | None = None

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            excludeTurns=True,
            cwd=self.cwd,
            sandbox=self.sandbox,
            approvalPolicy=self.approval_policy,
            model=self.model,
            config=self.config,
        )


@dataclass(frozen=True, slots=True)
class ForkThread:
    """A new thread with the history of another."""

    method: ClassVar[str] = "thread/fork"
    thread_id: ThreadId
    #: The last turn to take over; all of them when `None`.
    last_turn_id: TurnId | None = None
    cwd: str | None = None
    sandbox: SandboxMode | None = None
    approval_policy: ApprovalPolicy | None = None
    model: str | None = None
    ephemeral: bool | None = None
    config: Mapping[str, Sendable] | None = None
    developer_instructions: str | None = None

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            excludeTurns=True,
            lastTurnId=self.last_turn_id,
            cwd=self.cwd,
            sandbox=self.sandbox,
            approvalPolicy=self.approval_policy,
            model=self.model,
            ephemeral=self.ephemeral,
            config=self.config,
            developerInstructions=self.developer_instructions,
        )


@dataclass(frozen=True, slots=True)
class ReadThread:
    method: ClassVar[str] = "thread/read"
    thread_id: ThreadId
    include_turns: bool = False

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id, "includeTurns": self.include_turns}


@dataclass(frozen=True, slots=True)
class ListTurns:
    """Turns of a thread, newest first."""

    method: ClassVar[str] = "thread/turns/list"
    thread_id: ThreadId
    limit: int | None = None
    cursor: str | None = None
    items_view: ItemsView | None = None
    sort_direction: SortDirection = "desc"

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            limit=self.limit,
            cursor=self.cursor,
            itemsView=self.items_view,
            sortDirection=self.sort_direction,
        )


@dataclass(frozen=True, slots=True)
class ListItems:
    """Items of a thread or of one turn."""

    method: ClassVar[str] = "thread/items/list"
    thread_id: ThreadId
    turn_id: TurnId | None = None
    limit: int | None = None
    cursor: str | None = None
    sort_direction: SortDirection = "asc"

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            turnId=self.turn_id,
            limit=self.limit,
            cursor=self.cursor,
            sortDirection=self.sort_direction,
        )


@dataclass(frozen=True, slots=True)
class ListThreads:
    """Threads on this CODEX_HOME. `cwds` empty: of every folder."""

    method: ClassVar[str] = "thread/list"
    cwds: tuple[str, ...] = ()
    archived: bool | None = None
    search_term: str | None = None
    #: Default: what people started (cli, vscode) only, so name `appServer` to see ours.
    source_kinds: tuple[str, ...] = ("cli", "vscode", "exec", "appServer")
    limit: int | None = None
    cursor: str | None = None
    sort_key: Literal["created_at", "updated_at"] = "updated_at"
    sort_direction: SortDirection = "desc"

    def to_wire(self) -> Wire:
        return present(
            cwd=self.cwds or None,
            archived=self.archived,
            searchTerm=self.search_term,
            sourceKinds=self.source_kinds,
            # Of every provider: left out, it would be the one that is configured now.
            modelProviders=(),
            limit=self.limit,
            cursor=self.cursor,
            sortKey=self.sort_key,
            sortDirection=self.sort_direction,
        )


@dataclass(frozen=True, slots=True)
class SearchThreads:
    """Full-text search over threads."""

    method: ClassVar[str] = "thread/search"
    search_term: str
    archived: bool | None = None
    limit: int | None = None
    cursor: str | None = None

    def to_wire(self) -> Wire:
        return present(
            searchTerm=self.search_term,
            archived=self.archived,
            limit=self.limit,
            cursor=self.cursor,
        )


@dataclass(frozen=True, slots=True)
class ListLoadedThreads:
    """Ids of the threads in the app-server's memory."""

    method: ClassVar[str] = "thread/loaded/list"
    cursor: str | None = None
    limit: int | None = None

    def to_wire(self) -> Wire:
        return present(cursor=self.cursor, limit=self.limit)


@dataclass(frozen=True, slots=True)
class ArchiveThread:
    method: ClassVar[str] = "thread/archive"
    thread_id: ThreadId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id}


@dataclass(frozen=True, slots=True)
class UnarchiveThread:
    method: ClassVar[str] = "thread/unarchive"
    thread_id: ThreadId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id}


@dataclass(frozen=True, slots=True)
class UnsubscribeThread:
    """No more notifications of this thread on this connection."""

    method: ClassVar[str] = "thread/unsubscribe"
    thread_id: ThreadId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id}


@dataclass(frozen=True, slots=True)
class NameThread:
    method: ClassVar[str] = "thread/name/set"
    thread_id: ThreadId
    name: str

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id, "name": self.name}


@dataclass(frozen=True, slots=True)
class CompactThread:
    """Runs as a turn with a `ContextCompaction` item."""

    method: ClassVar[str] = "thread/compact/start"
    thread_id: ThreadId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id}


# Goals: Codex goes on by itself, and spends tokens, until the goal is met or cleared


@dataclass(frozen=True, slots=True)
class SetGoal:
    method: ClassVar[str] = "thread/goal/set"
    thread_id: ThreadId
    objective: str | None = None
    token_budget: int | None = None
    status: Literal["active", "paused", "complete"] | None = None

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            objective=self.objective,
            tokenBudget=self.token_budget,
            status=self.status,
        )


@dataclass(frozen=True, slots=True)
class GetGoal:
    method: ClassVar[str] = "thread/goal/get"
    thread_id: ThreadId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id}


@dataclass(frozen=True, slots=True)
class ClearGoal:
    method: ClassVar[str] = "thread/goal/clear"
    thread_id: ThreadId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id}


# Turns


@dataclass(frozen=True, slots=True)
class StartTurn:
    """Ask the model. On a thread with an active turn this silently steers that turn."""

    method: ClassVar[str] = "turn/start"
    thread_id: ThreadId
    input: tuple[InputItem, ...]
    #: Comes back as `UserMessage.client_id`: our evidence, not a duplicate check.
    client_user_message_id: str | None = None
    cwd: str | None = None
    sandbox_policy: SandboxPolicy | None = None
    approval_policy: ApprovalPolicy | None = None
    model: str | None = None
    effort: str | None = None
    output_schema: Mapping[str, Sendable] | None = None
    collaboration_mode: CollaborationMode | None = None

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            input=[item.to_wire() for item in self.input],
            clientUserMessageId=self.client_user_message_id,
            cwd=self.cwd,
            sandboxPolicy=_wire(self.sandbox_policy),
            approvalPolicy=self.approval_policy,
            model=self.model,
            effort=self.effort,
            outputSchema=self.output_schema,
            collaborationMode=_wire(self.collaboration_mode),
        )


@dataclass(frozen=True, slots=True)
class SteerTurn:
    """Add input to the running turn."""

    method: ClassVar[str] = "turn/steer"
    thread_id: ThreadId
    expected_turn_id: TurnId
    input: tuple[InputItem, ...]
    client_user_message_id: str | None = None

    def to_wire(self) -> Wire:
        return present(
            threadId=self.thread_id,
            expectedTurnId=self.expected_turn_id,
            input=[item.to_wire() for item in self.input],
            clientUserMessageId=self.client_user_message_id,
        )


@dataclass(frozen=True, slots=True)
class InterruptTurn:
    method: ClassVar[str] = "turn/interrupt"
    thread_id: ThreadId
    turn_id: TurnId

    def to_wire(self) -> Wire:
        return {"threadId": self.thread_id, "turnId": self.turn_id}


@dataclass(frozen=True, slots=True)
class UncommittedChanges:
    def to_wire(self) -> Wire:
        return {"type": "uncommittedChanges"}


@dataclass(frozen=True, slots=True)
class BaseBranch:
    branch: str

    def to_wire(self) -> Wire:
        return {"type": "baseBranch", "branch": self.branch}


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    title: str | None = None

    def to_wire(self) -> Wire:
        return present(type="commit", sha=self.sha, title=self.title)


@dataclass(frozen=True, slots=True)
class CustomReview:
    instructions: str

    def to_wire(self) -> Wire:
        return {"type": "custom", "instructions": self.instructions}


ReviewTarget = UncommittedChanges | BaseBranch | Commit | CustomReview


@dataclass(frozen=True, slots=True)
class StartReview:
    """Inline: in this thread. Detached: in a new one, whose id the answer bears."""

    method: ClassVar[str] = "review/start"
    thread_id: ThreadId
    target: ReviewTarget
    delivery: Literal["inline", "detached"] = "inline"

    def to_wire(self) -> Wire:
        return {
            "threadId": self.thread_id,
            "target": self.target.to_wire(),
            "delivery": self.delivery,
        }


# What there is


@dataclass(frozen=True, slots=True)
class ListProjects:
    method: ClassVar[str] = "project/list"
    cursor: str | None = None
    limit: int | None = None

    def to_wire(self) -> Wire:
        return present(cursor=self.cursor, limit=self.limit)


@dataclass(frozen=True, slots=True)
class ListModels:
    method: ClassVar[str] = "model/list"
    include_hidden: bool = False
    cursor: str | None = None
    limit: int | None = None

    def to_wire(self) -> Wire:
        return present(includeHidden=self.include_hidden, cursor=self.cursor, limit=self.limit)


@dataclass(frozen=True, slots=True)
class ReadDiagnostics:
    method: ClassVar[str] = "server/diagnostics"

    def to_wire(self) -> Wire:
        return {}


@dataclass(frozen=True, slots=True)
class ReadAccount:
    method: ClassVar[str] = "account/read"

    def to_wire(self) -> Wire:
        return {}


@dataclass(frozen=True, slots=True)
class ListHooks:
    method: ClassVar[str] = "hooks/list"
    cwds: tuple[str, ...] = ()

    def to_wire(self) -> Wire:
        return {"cwds": self.cwds}


@dataclass(frozen=True, slots=True)
class ListSkills:
    method: ClassVar[str] = "skills/list"
    cwds: tuple[str, ...] = ()

    def to_wire(self) -> Wire:
        return {"cwds": self.cwds}


@dataclass(frozen=True, slots=True)
class TrySandbox:
    """Run a command that does nothing in the sandbox for commands that only read."""

    method: ClassVar[str] = "command/exec"

    def to_wire(self) -> Wire:
        return {
            "command": ["/bin/sh", "-c", ":"],
            "cwd": "/",
            "sandboxPolicy": {"type": "readOnly"},
            "timeoutMs": 5_000,
        }


@dataclass(frozen=True, slots=True)
class TrustHooks:
    """Let hooks run: their hashes by key, as `hooks/list` gives them. The user decides this."""

    method: ClassVar[str] = "config/batchWrite"
    hashes: Mapping[str, str]

    def to_wire(self) -> Wire:
        return {
            "edits": [
                {
                    "keyPath": "hooks.state",
                    "value": {key: {"trusted_hash": hashed} for key, hashed in self.hashes.items()},
                    "mergeStrategy": "upsert",
                }
            ],
            "reloadUserConfig": True,
        }


class Survey(StrEnum):
    """Calls without arguments that say what this Codex offers; their answers are only shown."""

    PERMISSION_PROFILES = "permissionProfile/list"
    COLLABORATION_MODES = "collaborationMode/list"
    PROVIDER_CAPABILITIES = "modelProvider/capabilities/read"
    EXPERIMENTAL_FEATURES = "experimentalFeature/list"
    MCP_SERVERS = "mcpServerStatus/list"
    CONFIG_REQUIREMENTS = "configRequirements/read"
    WINDOWS_SANDBOX = "windowsSandbox/readiness"
    ACCOUNT_USAGE = "account/usage/read"
    RATE_LIMITS = "account/rateLimits/read"

    @property
    def method(self) -> str:
        return self.value

    def to_wire(self) -> Wire | None:
        # These two declare their params to be null, and an object is not null.
        no_params = self in (Survey.CONFIG_REQUIREMENTS, Survey.WINDOWS_SANDBOX)
        return None if no_params else {}
