"""What Codex offers, remembered for a while. Asking starts no turn."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from codex_control_plane_mcp.clock import Clock, Moment, seconds_between
from codex_control_plane_mcp.codex.inventory import HookCounts, Inventory, Outcome, Wanted
from codex_control_plane_mcp.codex.words import things
from codex_control_plane_mcp.desk import views_inventory as views
from codex_control_plane_mcp.desk.health import standing_of
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexWord, RuntimeView
from codex_control_plane_mcp.desk.views import CapabilitiesBrief

T = TypeVar("T")
V = TypeVar("V")

#: What Codex offers changes with its version, its configuration and its login.
FRESH_SECONDS = 300.0
#: Answers remembered, one for each way of asking.
REMEMBERED = 16

ASK_FOR_MORE = "call codex_get_runtime_capabilities with refresh: true to start Codex and ask it"
#: Where Codex's sandbox cannot be had at all.
SANDBOX_ADVICE = (
    "let Codex make user namespaces here (in a container: its seccomp profile, or "
    "user.max_user_namespaces), or run tasks with danger-full-access where the container is the "
    "sandbox"
)
#: These say that Codex could not do what it was asked; the others are facts about it.
_FAILED = ("error", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to ask."""

    wanted: Wanted = field(default_factory=Wanted)
    #: Ask now, starting Codex if need be. Else it is asked only if it runs and is not remembered.
    refresh: bool = False
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    at: Moment
    view: views.CapabilitiesView


class Capabilities:
    """Asks, and remembers for as long as this process lives."""

    def __init__(self, runtime: RuntimeView, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        #: The last one is the newest.
        self._known: dict[Wanted, _Snapshot] = {}

    async def look(self, asked: Asked) -> views.CapabilitiesView:
        known = self._known.get(asked.wanted)
        if known is not None and not asked.refresh and self._is_fresh(known):
            return replace(known.view, cache_state="cached")
        word = await self._runtime.ask_codex(
            asked.wanted, asked.timeout_seconds, may_start=asked.refresh
        )
        if word.inventory is None and known is not None and not asked.refresh:
            return replace(known.view, cache_state="stale")
        now = self._clock.now()
        view = _shown(self._runtime.standing().app_server, word, now)
        if word.inventory is not None:
            self._remember(asked.wanted, _Snapshot(now, view))
        return view

    @property
    def last(self) -> CapabilitiesBrief | None:
        """The newest answer, in short; asks nobody."""
        found = self.newest
        if found is None:
            return None
        account = found.account_status
        return CapabilitiesBrief(
            status=found.status,
            generated_at=found.generated_at,
            model_count=None if found.models is None else len(found.models),
            sandbox_readiness=found.sandbox_readiness,
            logged_in=None if account is None else account.logged_in,
        )

    @property
    def newest(self) -> views.RuntimeCapabilities | None:
        """The newest answer; asks nobody."""
        if not self._known:
            return None
        return next(reversed(self._known.values())).view.runtime_capabilities

    def forget(self) -> int:
        """Ask anew next time. How many answers were forgotten."""
        forgotten = len(self._known)
        self._known.clear()
        return forgotten

    def _is_fresh(self, snapshot: _Snapshot) -> bool:
        return seconds_between(snapshot.at, self._clock.now()) < FRESH_SECONDS

    def _remember(self, wanted: Wanted, snapshot: _Snapshot) -> None:
        self._known.pop(wanted, None)
        self._known[wanted] = snapshot
        if len(self._known) > REMEMBERED:
            self._known.pop(next(iter(self._known)))


def _shown(app_server: AppServerState, word: CodexWord, now: Moment) -> views.CapabilitiesView:
    inventory = word.inventory or Inventory()
    return views.CapabilitiesView(
        runtime_capabilities=views.RuntimeCapabilities(
            status=_status(inventory.outcomes),
            generated_at=now,
            app_server=views.AppServerBrief(
                standing_of(app_server),
                app_server.version,
                app_server.transport,
                app_server.ownership if app_server.running else None,
            ),
            schema_methods=_schema_methods(word),
            models=_each(inventory.models, _model),
            permission_profiles=_each(inventory.permission_profiles, _profile),
            sandbox_readiness=inventory.sandbox_readiness,
            sandbox_problem=inventory.sandbox_problem,
            model_provider_capabilities=_provider(inventory.provider),
            hooks=_hooks(inventory.hooks),
            skills=_skills(inventory.skill_count),
            account_status=_account(inventory.account),
            rate_limits=_each(inventory.rate_limits, _window),
        ),
        method_results={
            method: views.MethodResult(one.status, one.elapsed_ms, one.error_code)
            for method, one in inventory.outcomes.items()
        },
        warnings=tuple(_warnings(word, inventory.outcomes)),
        cache_state="none" if word.inventory is None else "fresh",
    )


def _status(outcomes: Mapping[str, Outcome]) -> str:
    failed = [one.status in _FAILED for one in outcomes.values()]
    if all(failed):  # also where there is none
        return "unavailable"
    return "partial" if any(failed) else "ok"


def _warnings(word: CodexWord, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    if word.problem is not None:
        yield f"{word.problem}; {ASK_FOR_MORE}"
    for method, one in outcomes.items():
        if one.status == "timeout":
            yield f"{method} did not answer in time"
        elif one.status == "error":
            yield f"{method} failed ({one.error_code})"
    if word.inventory is not None and word.inventory.sandbox_problem is not None:
        yield f"Codex cannot run commands in its sandbox: {word.inventory.sandbox_problem}"
    if word.inventory is not None and word.methods is None:
        yield "the methods of this Codex are not known: its schema was not read yet"


def _schema_methods(word: CodexWord) -> views.SchemaMethods:
    if word.methods is None:
        return views.SchemaMethods("unavailable", word.version, None, None)
    return views.SchemaMethods(
        "generate-json-schema", word.version, word.methods.hash, word.methods.count
    )


# --- What Codex said, as it is shown -------------------------------------------------------------


def _each(found: Sequence[T] | None, show: Callable[[T], V]) -> tuple[V, ...] | None:
    return None if found is None else tuple(map(show, found))


def _model(model: things.Model) -> views.ModelView:
    return views.ModelView(
        id=model.model,
        display_name=model.display_name,
        is_default=model.is_default,
        hidden=model.hidden,
        input_modalities=model.input_modalities,
        supported_reasoning_efforts=model.supported_reasoning_efforts,
        service_tier_count=model.service_tier_count,
    )


def _profile(profile: things.PermissionProfile) -> views.PermissionProfileView:
    return views.PermissionProfileView(profile.id, profile.description, profile.allowed)


def _provider(provider: things.ProviderCapabilities | None) -> views.ProviderView | None:
    if provider is None:
        return None
    return views.ProviderView(
        provider.web_search, provider.image_generation, provider.namespace_tools
    )


def _hooks(hooks: HookCounts | None) -> views.HookCountView | None:
    return None if hooks is None else views.HookCountView(hooks.total, hooks.running)


def _skills(count: int | None) -> views.SkillCountView | None:
    return None if count is None else views.SkillCountView(count)


def _account(account: things.Account | None) -> views.AccountStatus | None:
    if account is None:
        return None
    return views.AccountStatus(
        logged_in=account.kind is not None,
        kind=account.kind,
        plan_type=account.plan_type,
        requires_openai_auth=account.requires_openai_auth,
    )


def _window(window: things.RateLimitWindow) -> views.RateLimitView:
    resets_at = None if window.resets_at is None else Moment(window.resets_at * 1000)
    return views.RateLimitView(window.name, window.used_percent, window.window_minutes, resets_at)
