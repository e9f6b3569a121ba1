"""What this Codex offers: short calls made all at once, each of which may fail by itself.

Nothing that names a person, says what an account holds, or is run as a command leaves here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import anyio

from codex_control_plane_mcp.codex.errors import (
    AppServerGone,
    CallTimedOut,
    CodexError,
    NotSupported,
    Refused,
)
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words import things
from codex_control_plane_mcp.codex.words.verbs import Survey, TrySandbox

T = TypeVar("T")

#: `unsupported`: this version does not know the method; `skipped`: there was no point in asking.
OutcomeStatus = Literal["ok", "unsupported", "skipped", "error", "timeout"]

MAX_PROBLEM_CHARS = 300
NOT_LOGGED_IN = "NOT_LOGGED_IN"
#: The only kind of account that has rate limits to read.
WITH_RATE_LIMITS = "chatgpt"
#: A hook that Codex runs.
_TRUSTED = frozenset({"trusted", "managed"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask about beside the app-server itself."""

    #: The folder whose hooks and skills count too.
    cwd: str | None = None
    models: bool = True
    hooks: bool = True
    skills: bool = True
    account: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call."""

    status: OutcomeStatus
    elapsed_ms: int
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class HookCounts:
    total: int
    #: Those that Codex runs: switched on, and trusted.
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The answers; `None` where there is none, and `outcomes` says why."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    models: tuple[things.Model, ...] | None = None
    permission_profiles: tuple[things.PermissionProfile, ...] | None = None
    requirements: things.Requirements | None = None
    #: On Windows Codex's own word. Elsewhere what came of trying it: `ready` or `unavailable`.
    sandbox_readiness: str | None = None
    #: Why no command can be run in it.
    sandbox_problem: str | None = None
    provider: things.ProviderCapabilities | None = None
    hooks: HookCounts | None = None
    skill_count: int | None = None
    account: things.Account | None = None
    rate_limits: tuple[things.RateLimitWindow, ...] | None = None


class _Skipped(Exception):
    """There is no point in asking."""


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    """One question: until it is answered, it counts as one that nobody answers."""

    method: str
    ask: Callable[[], Awaitable[T]]
    value: T | None = None
    outcome: Outcome | None = None
    done: anyio.Event = field(default_factory=anyio.Event)

    async def make(self) -> None:
        began = anyio.current_time()
        try:
            self.value = await self.ask()
            self._settle(began, "ok")
        except _Skipped:
            self._settle(began, "skipped", NOT_LOGGED_IN)
        except CodexError as error:
            self._settle(began, *_failure(error))
        self.done.set()

    def _settle(self, began: float, status: OutcomeStatus, code: str | None = None) -> None:
        self.outcome = Outcome(status, round((anyio.current_time() - began) * 1000), code)


async def take(session: CodexSession, wanted: Wanted, seconds: float) -> Inventory:
    """Ask everything at once; what has no answer after `seconds` goes without."""
    cwds = () if wanted.cwd is None else (wanted.cwd,)
    account = _Call("account/read", session.account)

    async def rate_limits() -> tuple[things.RateLimitWindow, ...]:
        await account.done.wait()
        if account.value is None or account.value.kind != WITH_RATE_LIMITS:
            raise _Skipped
        return await session.rate_limits()

    async def hooks() -> HookCounts:
        return _counted(await session.list_hooks(cwds))

    async def models() -> tuple[things.Model, ...]:
        return (await session.list_models()).data

    async def profiles() -> tuple[things.PermissionProfile, ...]:
        return (await session.list_permission_profiles()).data

    limits = _Call(Survey.RATE_LIMITS.method, rate_limits)
    known_models = _Call("model/list", models)
    known_profiles = _Call(Survey.PERMISSION_PROFILES.method, profiles)
    requirements = _Call(Survey.CONFIG_REQUIREMENTS.method, session.requirements)
    provider = _Call(Survey.PROVIDER_CAPABILITIES.method, session.provider_capabilities)
    readiness = _Call(Survey.WINDOWS_SANDBOX.method, session.sandbox_readiness)
    trial = _Call(TrySandbox.method, session.try_sandbox)
    hook_counts = _Call("hooks/list", hooks)
    skills = _Call("skills/list", lambda: session.count_skills(cwds))

    on_windows = session.handshake.platform == "windows"
    choice: tuple[tuple[bool, _Call[Any]], ...] = (
        (wanted.models, known_models),
        (True, known_profiles),
        (True, requirements),
        (True, provider),
        (on_windows, readiness),
        (not on_windows, trial),
        (wanted.hooks, hook_counts),
        (wanted.skills, skills),
        (wanted.account, account),
        (wanted.account, limits),
    )
    calls = [call for is_wanted, call in choice if is_wanted]
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.make)
    unanswered = Outcome("timeout", round(seconds * 1000), "CODEX_TIMEOUT")
    return Inventory(
        outcomes={call.method: call.outcome or unanswered for call in calls},
        models=known_models.value,
        permission_profiles=known_profiles.value,
        requirements=requirements.value,
        sandbox_readiness=readiness.value if on_windows else _readiness(trial.value),
        sandbox_problem=_problem(trial.value),
        provider=provider.value,
        hooks=hook_counts.value,
        skill_count=skills.value,
        account=account.value,
        rate_limits=limits.value,
    )


def _readiness(trial: things.Ended | None) -> str | None:
    if trial is None:
        return None
    return "ready" if trial.exit_code == 0 else "unavailable"


def _problem(trial: things.Ended | None) -> str | None:
    if trial is None or trial.exit_code == 0:
        return None
    said = " ".join(trial.stderr.split())
    return said[-MAX_PROBLEM_CHARS:] or f"a command that does nothing ended with {trial.exit_code}"


def _counted(hooks: Sequence[things.Hook]) -> HookCounts:
    running = sum(hook.enabled and hook.trust_status in _TRUSTED for hook in hooks)
    return HookCounts(len(hooks), running)


def _failure(error: CodexError) -> tuple[OutcomeStatus, str]:
    match error:
        case NotSupported():
            return "unsupported", str(error.code)
        case Refused():
            return "error", str(error.code)
        case CallTimedOut():
            return "timeout", "CODEX_TIMEOUT"
        case AppServerGone():
            return "error", "CODEX_APP_SERVER_UNAVAILABLE"
        case _:
            return "error", "UNREADABLE_ANSWER"
