"""What is wrong, told from the facts: one small function for each way in which it can be.

A rule looks at nothing but the facts, and says what it found with its evidence, how sure that is,
and what to do next. Rules do not know of each other; the order of the table counts where two are
equally sure.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from codex_control_plane_mcp.clock import isoformat, seconds_between
from codex_control_plane_mcp.desk.capabilities import SANDBOX_ADVICE
from codex_control_plane_mcp.desk.diagnosis.facts import Facts
from codex_control_plane_mcp.desk.texts import start_of
from codex_control_plane_mcp.desk.views_diagnostics import LogLine
from codex_control_plane_mcp.errors import DuplicatePromptActive, InvalidArgument
from codex_control_plane_mcp.errors import ThreadNotFound as ThreadNotFoundCode
from codex_control_plane_mcp.model.interaction import Kind
from codex_control_plane_mcp.model.operation import ACTIVE, Status
from codex_control_plane_mcp.model.repair import Action

#: Shorter silence is what a model that thinks, or a long command, looks like.
SILENCE_SECONDS = 300.0
#: A clock that was set by less is none of anybody's concern.
SKEW_SECONDS = 60.0
#: What hooks told is taken in twice a second.
HOOKS_WAITING = 200
#: The versions of Codex that this control plane is tested with, from the first to the last.
TESTED: Final = ((0, 144, 0), (0, 169, 0))
MAX_EVIDENCE_CHARS = 300


class Confidence(StrEnum):
    #: A fact says so.
    HIGH = "high"
    #: What is known fits, and little else would.
    MEDIUM = "medium"
    #: It may be.
    LOW = "low"


class Category(StrEnum):
    """What can be wrong, by its public name."""

    STATE_UNWRITABLE = "state_unwritable"
    DISK_FULL = "disk_full"
    CLOCK_SKEW = "clock_skew"
    CODEX_MISSING = "codex_missing"
    CODEX_TOO_OLD = "codex_too_old"
    CODEX_TOO_NEW = "codex_too_new"
    CODEX_UNFIT = "codex_unfit"
    CODEX_DEGRADED = "codex_degraded"
    APP_SERVER_GONE = "app_server_gone"
    APP_SERVER_UNREACHABLE = "app_server_unreachable"
    AUTH_MISSING = "auth_missing"
    QUOTA_REACHED = "quota_reached"
    RATE_LIMITED = "rate_limited"
    MODEL_UNAVAILABLE = "model_unavailable"
    SANDBOX_NOT_READY = "sandbox_not_ready"
    CONTEXT_WINDOW_EXCEEDED = "context_window_exceeded"
    APPROVAL_WAITING = "approval_waiting"
    USER_INPUT_WAITING = "user_input_waiting"
    STALE_INTERACTION = "stale_interaction"
    STALE_OPERATION = "stale_operation"
    UNKNOWN_AFTER_EXIT = "unknown_after_exit"
    INTERRUPTED_BY_EXIT = "interrupted_by_exit"
    QUEUE_WAITING = "queue_waiting"
    NO_HOST = "no_host"
    HOST_AWAY = "host_away"
    SILENCE = "silence"
    DUPLICATE_PROMPT = "duplicate_prompt"
    PATH_OUTSIDE_ROOTS = "path_outside_roots"
    NO_ROOTS = "no_roots"
    PATH_MISSING = "path_missing"
    THREAD_MISSING = "thread_missing"
    HOOKS_WAITING = "hooks_waiting"
    TURN_FAILED = "turn_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    category: Category
    confidence: Confidence
    summary: str
    evidence: tuple[str, ...]
    next_step: str
    operation_id: str | None = None
    #: What may mend it.
    repair: Action | None = None


Rule: TypeAlias = Callable[[Facts], Iterator[Finding]]


def analyze(facts: Facts) -> list[Finding]:
    """Everything that is wrong, the surest first; each kind once for the same operation."""
    found = [finding for rule in RULES for finding in rule(facts)]
    first = {(one.category, one.operation_id): one for one in reversed(found)}
    ranks = list(Confidence)
    # What was seen in the facts explains what the caller's words only hint at.
    seen = {one.category for one in first.values() if one.confidence is not Confidence.LOW}
    kept = [
        one
        for one in found
        if first[one.category, one.operation_id] is one
        and not (one.confidence is Confidence.LOW and one.category in seen)
    ]
    return sorted(kept, key=lambda one: ranks.index(one.confidence))


# --- This machine --------------------------------------------------------------------------------


def state_unwritable(facts: Facts) -> Iterator[Finding]:
    if not facts.around.disk.writable:
        folder = facts.around.disk.folder
        yield Finding(
            category=Category.STATE_UNWRITABLE,
            confidence=Confidence.HIGH,
            summary="The folder of the state cannot be written: no task can be taken.",
            evidence=(f"{folder} is not writable for this user",),
            next_step=f"Give this user write permission on {folder}, or set CODEX_MCP_STATE_DB.",
            repair=Action.VALIDATE_PATHS_AND_CONFIG,
        )


def disk_full(facts: Facts) -> Iterator[Finding]:
    disk = facts.around.disk
    told = [line for line in facts.log if "the disk is full" in line.message]
    if disk.is_full or disk.is_low or told:
        free = f"{disk.free_bytes:,} bytes are free in {disk.folder}"
        yield Finding(
            category=Category.DISK_FULL,
            confidence=Confidence.HIGH if disk.is_full else Confidence.MEDIUM,
            summary="The disk of the state is full, or nearly."
            if disk.is_low
            else "The disk of the state was full a while ago.",
            evidence=(free, *_quoted(told)),
            next_step="Free some space; `codex-control-plane-mcp-admin prune` removes old progress "
            "entries.",
        )


def clock_skew(facts: Facts) -> Iterator[Finding]:
    ahead = seconds_between(facts.now, facts.books.latest)
    if ahead > SKEW_SECONDS:
        yield Finding(
            category=Category.CLOCK_SKEW,
            confidence=Confidence.HIGH,
            summary=f"The machine's clock stepped back, by {ahead:.0f} s or more.",
            evidence=(
                f"it is {isoformat(facts.now)}",
                f"the book tells of {isoformat(facts.books.latest)}",
            ),
            next_step="Set the clock. Nothing is lost: only ages and deadlines are off meanwhile.",
        )


def paths_missing(facts: Facts) -> Iterator[Finding]:
    for root in (*facts.around.roots, facts.around.codex_home):
        # Codex makes its home itself when it first runs.
        if not root.is_folder and root is not facts.around.codex_home:
            yield Finding(
                category=Category.PATH_MISSING,
                confidence=Confidence.HIGH,
                summary="A folder that tasks may be sent to is not there.",
                evidence=(f"{root.path} is no folder",),
                next_step="Make the folder, or correct CODEX_PROJECTS_ROOT or CODEX_ALLOWED_ROOTS.",
                repair=Action.VALIDATE_PATHS_AND_CONFIG,
            )


def no_roots(facts: Facts) -> Iterator[Finding]:
    if not facts.around.roots:
        yield Finding(
            category=Category.NO_ROOTS,
            confidence=Confidence.HIGH,
            summary="No task can be taken: no folder is allowed.",
            evidence=("neither CODEX_PROJECTS_ROOT nor CODEX_ALLOWED_ROOTS is set",),
            next_step="Have the person set CODEX_PROJECTS_ROOT, and restart the client.",
        )


def hooks_waiting(facts: Facts) -> Iterator[Finding]:
    hooks = facts.around.hooks
    if hooks.waiting > HOOKS_WAITING:
        yield Finding(
            category=Category.HOOKS_WAITING,
            confidence=Confidence.MEDIUM,
            summary="What Codex's hooks tell is not taken in.",
            evidence=(f"{hooks.waiting} files wait",),
            next_step="Refresh the history; see the log if they stay.",
            repair=Action.REFRESH_CATALOG_AND_HISTORY,
        )


# --- Codex and its app-server --------------------------------------------------------------------


def codex_missing(facts: Facts) -> Iterator[Finding]:
    if facts.codex.binary is None and facts.codex.problem is not None:
        yield Finding(
            category=Category.CODEX_MISSING,
            confidence=Confidence.HIGH,
            summary="There is no Codex to start.",
            evidence=(facts.codex.problem,),
            next_step="Install Codex (npm install -g @openai/codex), or set CODEX_BINARY_PATH.",
        )


def codex_unfit(facts: Facts) -> Iterator[Finding]:
    codex = facts.codex
    if codex.refused:
        category, why = _by_age(codex.version)
        yield Finding(
            category=category,
            confidence=Confidence.HIGH,
            summary=f"Codex {codex.version or '(unknown version)'} is not taken into service: "
            f"{why}.",
            evidence=tuple(start_of(one, MAX_EVIDENCE_CHARS)[0] for one in codex.refused[:3]),
            next_step="Update Codex, or name a newer one with CODEX_BINARY_PATH."
            if category is Category.CODEX_TOO_OLD
            else "Update codex-control-plane-mcp, or name an older Codex with CODEX_BINARY_PATH.",
        )
    elif codex.degraded:
        yield Finding(
            category=Category.CODEX_DEGRADED,
            confidence=Confidence.LOW,
            summary=f"Codex {codex.version or ''} lacks something that is used where it is there.",
            evidence=tuple(start_of(one, MAX_EVIDENCE_CHARS)[0] for one in codex.degraded[:3]),
            next_step="Nothing, unless that is what is missed: then update Codex.",
        )


def _by_age(version: str | None) -> tuple[Category, str]:
    parts = re.match(r"(\d+)\.(\d+)\.(\d+)", version or "")
    if parts is not None:
        known = tuple(int(part) for part in parts.groups())
        if known < TESTED[0]:
            return Category.CODEX_TOO_OLD, "it is older than the versions that this one knows"
        if known > TESTED[1]:
            return Category.CODEX_TOO_NEW, "it is newer than the versions that this one knows"
    return Category.CODEX_UNFIT, "it differs in what this control plane relies on"


def app_server_gone(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        if case.owner_gone and case.operation.status in ACTIVE:
            yield Finding(
                category=Category.APP_SERVER_GONE,
                confidence=Confidence.HIGH,
                summary="The app-server that had the task has ended.",
                evidence=(
                    f"process {case.operation.app_server_id} is not there any more",
                    f"the operation is {case.operation.status}",
                ),
                next_step="Wait: the worker asks the next app-server what became of the turn. Only "
                "if no app-server can be started, mark it as orphaned.",
                operation_id=case.operation.id,
                repair=Action.MARK_ORPHANED_AFTER_EXIT,
            )
    if facts.app_server.died:
        yield Finding(
            category=Category.APP_SERVER_GONE,
            # After a restart of the machine it is like this, too.
            confidence=Confidence.MEDIUM if facts.books.active else Confidence.LOW,
            summary="The app-server ended without being asked to.",
            evidence=("its process is on record and is not there any more",),
            next_step="The next task starts another one. If it ends again, see its log: "
            "codex_get_diagnostic_logs with source app_server.",
        )


def app_server_unreachable(facts: Facts) -> Iterator[Finding]:
    if facts.app_server_answers is False:
        yield Finding(
            category=Category.APP_SERVER_UNREACHABLE,
            confidence=Confidence.HIGH,
            summary="The app-server runs, and does not answer.",
            evidence=(
                f"pid {facts.app_server.pid} was asked a small thing a moment ago and said nothing",
            ),
            next_step="Wait half a minute. If it stays, restart the app-server by force: that "
            "costs the turns that run in it.",
            repair=Action.FORCE_RESTART_APP_SERVER,
        )
    for case in facts.cases:
        tried = [one for one in case.notices if one.text.startswith("Trying again")]
        is_stuck = case.operation.status in ACTIVE and tried and not facts.app_server.connected
        if is_stuck and facts.codex.problem is None:
            yield Finding(
                category=Category.APP_SERVER_UNREACHABLE,
                confidence=Confidence.HIGH if facts.app_server.running else Confidence.MEDIUM,
                summary="The app-server cannot be reached.",
                evidence=(_cut(tried[-1].text),),
                next_step="Wait half a minute. If it stays, restart the app-server by force: that "
                "costs the turns that run in it.",
                operation_id=case.operation.id,
                repair=Action.FORCE_RESTART_APP_SERVER,
            )


def auth_missing(facts: Facts) -> Iterator[Finding]:
    account = facts.capabilities and facts.capabilities.account_status
    if account and account.requires_openai_auth and not account.logged_in:
        yield Finding(
            category=Category.AUTH_MISSING,
            confidence=Confidence.HIGH,
            summary="Nobody is logged in to Codex.",
            evidence=("Codex says that it has no account and its model provider needs one",),
            next_step="Have the person run `codex login` on this machine.",
        )


def sandbox_not_ready(facts: Facts) -> Iterator[Finding]:
    readiness = facts.capabilities and facts.capabilities.sandbox_readiness
    if facts.capabilities and facts.capabilities.sandbox_problem:
        yield Finding(
            category=Category.SANDBOX_NOT_READY,
            confidence=Confidence.HIGH,
            summary="Codex cannot run any command in its sandbox on this machine.",
            evidence=(facts.capabilities.sandbox_problem,),
            next_step=f"{SANDBOX_ADVICE[:1].upper()}{SANDBOX_ADVICE[1:]}.",
        )
    if readiness in ("notConfigured", "updateRequired"):
        yield Finding(
            category=Category.SANDBOX_NOT_READY,
            confidence=Confidence.HIGH,
            summary="Codex's sandbox is not set up on this machine.",
            evidence=(f"Codex says: {readiness}",),
            next_step="Have the person start `codex` once and let it set its sandbox up.",
        )


def quota_used_up(facts: Facts) -> Iterator[Finding]:
    windows = (facts.capabilities and facts.capabilities.rate_limits) or ()
    for window in windows:
        if window.used_percent >= 100:
            until = "" if window.resets_at is None else f" until {isoformat(window.resets_at)}"
            yield Finding(
                category=Category.QUOTA_REACHED,
                confidence=Confidence.HIGH,
                summary=f"The account's {window.window} limit is used up{until}.",
                evidence=(f"Codex says: {window.used_percent} % used",),
                next_step=f"Wait{until or ' until it is reset'}, then send the task again.",
            )


# --- What became of operations -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trouble:
    """How a trouble that Codex ended a turn with is known, and what it is."""

    category: Category
    #: Codex's own codes that say just this.
    codes: frozenset[str]
    #: Else what its message says.
    words: re.Pattern[str]
    summary: str
    next_step: str


def _trouble(category: Category, codes: str, words: str, summary: str, next_step: str) -> _Trouble:
    pattern = re.compile(words, re.IGNORECASE)
    return _Trouble(category, frozenset(codes.split()), pattern, summary, next_step)


_LOGIN: Final = "Have the person run `codex login` (or correct the API key), then send it again."
_TROUBLES: Final = (
    _trouble(
        Category.AUTH_MISSING,
        "unauthorized",
        r"\b401\b|unauthorized|not logged in|invalid api key|incorrect api key",
        "The model provider did not accept the login.",
        _LOGIN,
    ),
    _trouble(
        Category.QUOTA_REACHED,
        "usageLimitExceeded sessionBudgetExceeded",
        r"usage limit|insufficient_quota|exceeded your current quota",
        "The account's usage limit is reached.",
        "Wait until it is reset (codex_get_runtime_capabilities with refresh says when), then send "
        "the task again.",
    ),
    _trouble(
        Category.RATE_LIMITED,
        "rateLimitExceeded",
        r"\b429\b|too many requests|rate limit",
        "The model provider takes no more requests for the moment.",
        "Wait a minute, then send the task again; fewer turns at once if it comes back.",
    ),
    _trouble(
        Category.SANDBOX_NOT_READY,
        "sandboxError",
        r"sandbox (?:error|setup|is not)|landlock|bwrap|seatbelt",
        "Codex could not use its sandbox.",
        "Start `codex` once on this machine and let it set its sandbox up; "
        "codex_preflight_project_run says whether it is ready.",
    ),
    _trouble(
        Category.CONTEXT_WINDOW_EXCEEDED,
        "contextWindowExceeded",
        r"context (?:window|length)",
        "The thread does not fit into the model's context any more.",
        "Have the thread summed up with codex_start_thread_compaction, or start a new chat.",
    ),
    _trouble(
        Category.MODEL_UNAVAILABLE,
        "serverOverloaded internalServerError httpConnectionFailed responseStreamConnectionFailed "
        "responseStreamDisconnected responseTooManyFailedAttempts flexUnavailable",
        r"stream disconnected|high demand|connection (?:failed|refused)|error sending request",
        "The model provider could not be reached, or broke off.",
        "Look at this machine's network, then send the task again.",
    ),
    _trouble(
        Category.THREAD_MISSING,
        ThreadNotFoundCode.code,
        r"no rollout found|is archived",
        "Codex does not have the thread, or it was put away.",
        "Bring it back with codex_unarchive_thread, or start a new chat.",
    ),
    _trouble(
        Category.INTERRUPTED_BY_EXIT,
        "",
        r"app-server ended during the turn",
        "The app-server ended in the middle of the turn.",
        "Look at what it did (codex_get_chat), then send the rest as a new message.",
    ),
)


def ended_badly(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        operation = case.operation
        if operation.trouble is None or operation.status is Status.UNKNOWN:
            continue
        code, message = operation.trouble.code, operation.trouble.message
        # A code that says little (a connection failed) is told more exactly by its message.
        known = next((one for one in _TROUBLES if code in one.codes), None)
        if known is None or known.category is Category.MODEL_UNAVAILABLE:
            known = next((one for one in _TROUBLES if one.words.search(message)), known)
        yield Finding(
            category=Category.TURN_FAILED if known is None else known.category,
            confidence=Confidence.MEDIUM if known is None else Confidence.HIGH,
            summary="The turn failed." if known is None else known.summary,
            evidence=(_cut(f"{operation.id} ended as {operation.status}: {code}: {message}"),),
            next_step="Read the message; correct what it names, and send the task again."
            if known is None
            else known.next_step,
            operation_id=operation.id,
            repair=Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY if operation.workflow_id else None,
        )


def model_is_retried(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        retried = [one for one in case.notices if _RETRIES.search(one.text)]
        if retried and case.operation.status is Status.RUNNING:
            yield Finding(
                category=Category.MODEL_UNAVAILABLE,
                confidence=Confidence.MEDIUM,
                summary="Codex loses the model provider, and keeps trying by itself.",
                evidence=(_cut(retried[-1].text),),
                next_step="Wait, and look at this machine's network.",
                operation_id=case.operation.id,
            )


_RETRIES: Final = re.compile(r"reconnecting|tries again|retry", re.IGNORECASE)


def unknown_after_exit(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        operation = case.operation
        if operation.status is Status.UNKNOWN:
            message = operation.trouble.message if operation.trouble else "nobody knows"
            yield Finding(
                category=Category.UNKNOWN_AFTER_EXIT,
                confidence=Confidence.HIGH,
                summary="Nobody knows whether the turn did its work.",
                evidence=(_cut(f"{operation.id}: {message}"),),
                next_step="Look at the folder and at codex_get_chat before the task is sent again.",
                operation_id=operation.id,
            )


def people_are_waited_for(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        for question in case.questions:
            if question in case.stale_questions:
                continue
            approves = question.asked.kind in (Kind.APPROVAL, Kind.PERMISSIONS)
            waits = seconds_between(question.created_at, facts.now)
            yield Finding(
                category=Category.APPROVAL_WAITING if approves else Category.USER_INPUT_WAITING,
                confidence=Confidence.HIGH,
                summary="Codex waits for an approval."
                if approves
                else "Codex waits for an answer.",
                evidence=(f"{question.id} ({question.asked.kind}) is open for {waits:.0f} s",),
                next_step="Show codex_list_pending_interactions to who decides, then answer with "
                "codex_answer_pending_interaction.",
                operation_id=case.operation.id,
            )


def stale_interactions(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        if case.stale_questions:
            yield Finding(
                category=Category.STALE_INTERACTION,
                confidence=Confidence.HIGH,
                summary="A question is open that nobody can answer any more.",
                evidence=tuple(
                    f"{one.id} was asked by an app-server that has ended"
                    for one in case.stale_questions
                ),
                next_step="Wait for the worker to take the turn up; if no app-server can be "
                "started, let the question expire.",
                operation_id=case.operation.id,
                repair=Action.EXPIRE_STALE_PENDING_INTERACTIONS,
            )


def stale_operations(facts: Facts) -> Iterator[Finding]:
    worker = facts.books.worker
    for case in facts.cases:
        operation = case.operation
        if case.is_elsewhere or worker is None or operation.status not in ACTIVE:
            continue
        if operation.generation < worker.generation:
            yield Finding(
                category=Category.STALE_OPERATION,
                confidence=Confidence.HIGH,
                summary="An operation was left behind by an earlier worker.",
                evidence=(f"generation {operation.generation} had it, not {worker.generation}",),
                next_step="Have it taken up.",
                operation_id=operation.id,
                repair=Action.RECOVER_STALE_OPERATIONS,
            )


def queue_waiting(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        if case.waits_for is not None:
            yield Finding(
                category=Category.QUEUE_WAITING,
                confidence=Confidence.HIGH,
                summary="The task waits for its turn.",
                evidence=(
                    case.waits_for,
                    f"{facts.books.active} of {facts.limits.everywhere} turns run",
                ),
                next_step="Wait; codex_get_queue_status shows what holds the slots. The limits are "
                "settings (CODEX_MCP_MAX_ACTIVE_...).",
                operation_id=case.operation.id,
            )


def no_host(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        if case.lacks_host is not None:
            yield Finding(
                category=Category.NO_HOST,
                confidence=Confidence.HIGH,
                summary="No host of the fleet can take the task now.",
                evidence=(case.lacks_host,),
                next_step="Start the worker of a host that has what it asks for (its project, the "
                "labels of CODEX_MCP_HOST_LABELS), or cancel it and submit it for another host.",
                operation_id=case.operation.id,
            )


def host_away(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        if case.host_away is not None:
            yield Finding(
                category=Category.HOST_AWAY,
                confidence=Confidence.HIGH,
                summary=f"The host {case.host_away} has the task and is out of reach: what became "
                "of its turn is not known until it is back.",
                evidence=(f"no worker of {case.host_away} is connected to the fleet's book",),
                next_step="Start that host's worker again. If it will not come back: "
                f"codex-control-plane-mcp-admin requeue {case.operation.id}.",
                operation_id=case.operation.id,
            )


def silence(facts: Facts) -> Iterator[Finding]:
    for case in facts.cases:
        quiet = case.quiet_seconds
        if case.host_away is not None:
            continue
        if quiet is None or quiet < SILENCE_SECONDS or case.operation.status is not Status.RUNNING:
            continue
        yield Finding(
            category=Category.SILENCE,
            confidence=Confidence.LOW if facts.app_server.connected else Confidence.MEDIUM,
            summary=f"Codex has said nothing of the turn for {quiet:.0f} s. That is a fact, no "
            "failure: a long command or much thinking looks the same.",
            evidence=(f"{case.operation.id} runs turn {case.operation.turn_id}",),
            next_step="Wait. If it must end, codex_interrupt_turn ends it; do not submit it again.",
            operation_id=case.operation.id,
            repair=Action.RECONCILE_WORKFLOW_FROM_THREAD if case.operation.workflow_id else None,
        )


# --- What callers were refused -------------------------------------------------------------------


def duplicates(facts: Facts) -> Iterator[Finding]:
    for line in _refusals(facts, DuplicatePromptActive.code):
        existing = _told(line, "existingOperationId")
        yield Finding(
            category=Category.DUPLICATE_PROMPT,
            confidence=Confidence.MEDIUM,
            summary="The same prompt was sent while it is being worked on.",
            evidence=tuple(_quoted([line])),
            next_step=f"Follow {existing or 'the operation that the error names'}; with "
            "dedup_policy idempotency_only the same prompt may run twice.",
            operation_id=existing,
        )


def paths_outside(facts: Facts) -> Iterator[Finding]:
    for line in _refusals(facts, InvalidArgument.code):
        if "outside the allowed folders" in line.message:
            roots = ", ".join(root.path for root in facts.around.roots) or "none"
            yield Finding(
                category=Category.PATH_OUTSIDE_ROOTS,
                confidence=Confidence.MEDIUM,
                summary="A task was sent to a folder that is not allowed.",
                evidence=(*_quoted([line]), f"allowed: {roots}"),
                next_step="Use a folder within these, or have the person add it to "
                "CODEX_ALLOWED_ROOTS.",
            )


def _refusals(facts: Facts, code: str) -> list[LogLine]:
    """The last call that was refused so, where the whole is looked at or it is about the scope."""
    refused = [line for line in facts.log if _told(line, "code") == code]
    if not facts.scope.is_whole:
        ids = {case.operation.id for case in facts.cases}
        refused = [line for line in refused if _told(line, "existingOperationId") in ids]
    return refused[-1:]


# --- The caller's own words ----------------------------------------------------------------------

#: What is said of a problem, and what it hints at.
_PHRASES: Final = (
    (r"DUPLICATE_PROMPT|same prompt", Category.DUPLICATE_PROMPT),
    (r"outside the allowed|not allowed folder|allowed roots", Category.PATH_OUTSIDE_ROOTS),
    (r"disk (?:is )?full|no space left|ENOSPC", Category.DISK_FULL),
    (r"approval|approve|permission prompt", Category.APPROVAL_WAITING),
    (r"hang|stuck|stall|no progress|silent|frozen", Category.SILENCE),
    (r"APP_SERVER_UNAVAILABLE|app-server", Category.APP_SERVER_UNREACHABLE),
    (r"unknown_after_app_server_exit", Category.UNKNOWN_AFTER_EXIT),
    (r"queued|waiting for its turn|CODEX_BUSY", Category.QUEUE_WAITING),
    (r"clock|in the future", Category.CLOCK_SKEW),
)


def callers_words(facts: Facts) -> Iterator[Finding]:
    text = facts.problem_text
    hinted = [category for words, category in _PHRASES if re.search(words, text, re.IGNORECASE)]
    hinted += [one.category for one in _TROUBLES if one.words.search(text)]
    for category in dict.fromkeys(hinted):
        yield Finding(
            category=category,
            confidence=Confidence.LOW,
            summary=f"The words of the problem sound like {category}; no fact here says so.",
            evidence=(_cut(text),),
            next_step="Give the operation_id or thread_id that it is about, and ask again.",
        )


#: In the order in which they explain each other.
RULES: Final[tuple[Rule, ...]] = (
    disk_full,
    state_unwritable,
    codex_missing,
    codex_unfit,
    auth_missing,
    ended_badly,
    quota_used_up,
    sandbox_not_ready,
    unknown_after_exit,
    app_server_gone,
    app_server_unreachable,
    people_are_waited_for,
    stale_interactions,
    stale_operations,
    model_is_retried,
    queue_waiting,
    no_host,
    host_away,
    silence,
    duplicates,
    paths_outside,
    no_roots,
    paths_missing,
    clock_skew,
    hooks_waiting,
    callers_words,
)


# --- Evidence ------------------------------------------------------------------------------------


def _cut(text: str) -> str:
    return start_of(text, MAX_EVIDENCE_CHARS)[0]


def _quoted(lines: list[LogLine]) -> list[str]:
    return [_cut(f"{line.at}: {line.message}") for line in lines[-1:]]


def _told(line: LogLine, name: str) -> str | None:
    value = (line.told or {}).get(name)
    return value if isinstance(value, str) else None
