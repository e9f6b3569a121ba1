"""What is different from kind to kind of operation: where its thread comes from, how Codex is asked
for its turn, and how that turn is known again in the thread.

One `match` says it for every kind; the driver takes the same steps with all of them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from codex_control_plane_mcp.codex.errors import CallTimedOut
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.codex.words.things import (
    ContextCompaction,
    EnteredReviewMode,
    ThreadInForce,
    Turn,
)
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Operation, Policy
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    BaseBranch,
    Commit,
    CompactThread,
    CustomTarget,
    ExecutePlan,
    ForkThread,
    PromptRequest,
    Review,
    ReviewTarget,
    SendMessage,
    StartChat,
    SteerTurn,
    TaskRequest,
    TurnOptions,
    UnarchiveThread,
    UncommittedChanges,
)
from codex_control_plane_mcp.work.evidence import Found, is_ours, messages_of, newest_turn
from codex_control_plane_mcp.work.inputs import input_of

#: A turn that was begun is told within milliseconds; a loaded machine needs longer.
STARTED_SECONDS = 30.0
LOOK_SECONDS = 0.05

# --- Where the thread comes from -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewThread:
    verb: verbs.StartThread

    async def open(self, session: CodexSession) -> ThreadInForce:
        return await session.start_thread(self.verb)


@dataclass(frozen=True, slots=True)
class Fork:
    """A new thread with another's history. Codex lists a fork once it had a turn: one whose answer
    was lost is seen by nobody."""

    verb: verbs.ForkThread

    async def open(self, session: CodexSession) -> ThreadInForce:
        return await session.fork_thread(self.verb)


@dataclass(frozen=True, slots=True)
class OldThread:
    thread_id: ThreadId


Origin: TypeAlias = NewThread | Fork | OldThread

# --- What Codex is asked for ---------------------------------------------------------------------


class Asking(ABC):
    """One way of having Codex begin a turn."""

    #: The call.
    method: str
    #: The report of a turn that ends without a word.
    silence: str = ""

    @abstractmethod
    async def ask(self, session: CodexSession, thread_id: ThreadId, operation: Operation) -> TurnId:
        """Ask, once. Raises CodexError; its kind says whether Codex may have taken it."""

    @abstractmethod
    def find(self, turn: Turn, operation_id: OperationId) -> Found | None:
        """Whether this turn, newer than the wish, is the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Prompt(Asking):
    """A message to the model. It bears our id: there is no better evidence."""

    method = "turn/start"
    input: tuple[verbs.InputItem, ...]
    options: TurnOptions
    #: A thread that was there before may have had another turn's policy.
    overrides: bool

    async def ask(self, session: CodexSession, thread_id: ThreadId, operation: Operation) -> TurnId:
        intent, options = operation.intent, self.options
        turn = await session.start_turn(
            verbs.StartTurn(
                thread_id,
                self.input,
                client_user_message_id=None if intent is None else intent.client_message_id,
                # What was checked against the allowed roots is where it works.
                cwd=operation.folder if self.overrides else None,
                sandbox_policy=verbs.policy_for(options.sandbox.value) if self.overrides else None,
                approval_policy=options.approval_policy.value if self.overrides else None,
                model=options.model if self.overrides else None,
                effort=options.effort,
                output_schema=options.output_schema,  # type: ignore[arg-type]  # JSON, checked
                collaboration_mode=_collaboration_mode(options, operation.policy),
            )
        )
        return turn.id

    def find(self, turn: Turn, operation_id: OperationId) -> Found | None:
        if any(is_ours(message.client_id, operation_id) for message in messages_of(turn)):
            return Found(turn.id, turn, "it bears the message id of this operation")
        return None


@dataclass(frozen=True, slots=True)
class ReviewStart(Asking):
    """A review. It runs in a child turn; until that has ended, the turn itself is not listed."""

    method = "review/start"
    target: verbs.ReviewTarget

    async def ask(self, session: CodexSession, thread_id: ThreadId, operation: Operation) -> TurnId:
        begun = await session.start_review(verbs.StartReview(thread_id, self.target))
        return begun.turn.id

    def find(self, turn: Turn, operation_id: OperationId) -> Found | None:
        if turn.root_turn_id not in (None, turn.id):
            return Found(turn.root_turn_id or turn.id, turn, "a review began after the request")
        if any(isinstance(item, EnteredReviewMode) for item in turn.items):
            return Found(turn.id, turn, "a review began after the request")
        return None


@dataclass(frozen=True, slots=True)
class Compaction(Asking):
    """Codex sums the thread up. Its answer does not say which turn that is: the next one to begin
    is, in a thread that is idle."""

    method = "thread/compact/start"
    silence = "Compacted: from here on Codex works with a summary of the thread."

    async def ask(self, session: CodexSession, thread_id: ThreadId, operation: Operation) -> TurnId:
        await session.compact_thread(thread_id)
        # What is said of the turn is left in the inbox for whoever follows it.
        last_turn_id = operation.intent and operation.intent.last_turn_id
        with anyio.move_on_after(STARTED_SECONDS):
            while True:
                newest = await newest_turn(session, thread_id)
                if newest is not None and newest.id != last_turn_id:
                    return newest.id
                await anyio.sleep(LOOK_SECONDS)
        raise CallTimedOut(self.method, STARTED_SECONDS)

    def find(self, turn: Turn, operation_id: OperationId) -> Found | None:
        compacts = any(isinstance(item, ContextCompaction) for item in turn.items)
        if compacts and not messages_of(turn):
            return Found(turn.id, turn, "a compaction began after the request")
        return None


# --- The kinds -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """A thread, and a turn in it."""

    origin: Origin
    asking: Asking
    title: str | None = None


@dataclass(frozen=True, slots=True)
class BareFork:
    """The thread itself is all that is wanted."""

    origin: Fork
    title: str | None


@dataclass(frozen=True, slots=True)
class Steering:
    """Words for a turn that runs."""

    request: SteerTurn


@dataclass(frozen=True, slots=True)
class Filing:
    """A thread is put away, or brought back."""

    request: ArchiveThread | UnarchiveThread


def kind_of(request: TaskRequest) -> Course | BareFork | Steering | Filing:
    match request:
        case StartChat():
            return Course(NewThread(_new_thread(request)), _prompt(request), request.title)
        case SendMessage() | ExecutePlan():
            return Course(OldThread(request.thread_id), _prompt(request))
        case ForkThread():
            fork = Fork(_fork(request, request.source_thread_id))
            if not request.message:
                return BareFork(fork, request.title)
            return Course(fork, _prompt(request), request.title)
        case Review():
            return Course(_reviewed_thread(request), ReviewStart(_target(request.target)))
        case CompactThread():
            return Course(OldThread(request.thread_id), Compaction())
        case SteerTurn():
            return Steering(request)
        case ArchiveThread() | UnarchiveThread():
            return Filing(request)


def _prompt(request: PromptRequest) -> Prompt:
    overrides = isinstance(request, SendMessage | ExecutePlan)
    return Prompt(input_of(request.message, request.attachments), request.options, overrides)


def _new_thread(request: StartChat | Review) -> verbs.StartThread:
    options = request.options
    return verbs.StartThread(
        request.cwd,
        sandbox=options.sandbox.value,
        approval_policy=options.approval_policy.value,
        model=options.model,
        ephemeral=True if getattr(request, "ephemeral", False) else None,
    )


def _fork(request: ForkThread | Review, source: ThreadId) -> verbs.ForkThread:
    """A fork has the sandbox that is said here, not that of its source."""
    options = request.options
    return verbs.ForkThread(
        source,
        last_turn_id=getattr(request, "last_turn_id", None),
        cwd=request.cwd,
        sandbox=options.sandbox.value,
        approval_policy=options.approval_policy.value,
        model=options.model,
        ephemeral=True if getattr(request, "ephemeral", False) else None,
    )


def _reviewed_thread(request: Review) -> Origin:
    """Detached means a fork that is reviewed inline: Codex's own detached reviews are refused for
    threads of the present kind, and whose thread is told only by the answer could be lost."""
    if request.thread_id is not None:
        return OldThread(request.thread_id)
    if request.source_thread_id is not None:
        return Fork(_fork(request, request.source_thread_id))
    return NewThread(_new_thread(request))


def _target(target: ReviewTarget) -> verbs.ReviewTarget:
    match target:
        case UncommittedChanges():
            return verbs.UncommittedChanges()
        case BaseBranch(branch=branch):
            return verbs.BaseBranch(branch)
        case Commit(sha=sha, title=title):
            return verbs.Commit(sha, title)
        case CustomTarget(instructions=instructions):
            return verbs.CustomReview(instructions)


def _collaboration_mode(
    options: TurnOptions, policy: Policy | None
) -> verbs.CollaborationMode | None:
    """The mode to ask for, where it is not the one the thread has. A mode names its model, and that
    one wins: so it is the model that was asked for, or the thread's own."""
    wanted = options.collaboration_mode
    present = policy.collaboration_mode if policy else None
    if policy is None or wanted.value == (present or "default"):
        return None
    return verbs.CollaborationMode(wanted.value, options.model or policy.model, options.effort)
