"""What the desk shows of what Codex offers, and of whether a task would run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views import OPTIONAL, TACIT, WHERE_IT_APPLIES


@dataclass(frozen=True, slots=True)
class AppServerBrief:
    status: str
    version: str | None
    transport: str | None
    ownership: str | None


@dataclass(frozen=True, slots=True)
class SchemaMethods:
    """The calls that the installed Codex takes, by its own schema."""

    #: `generate-json-schema`, or `unavailable`.
    source: str
    version: str | None
    hash: str | None
    method_count: int | None


@dataclass(frozen=True, slots=True)
class ModelView:
    id: str
    display_name: str
    is_default: bool
    hidden: bool
    input_modalities: tuple[str, ...]
    supported_reasoning_efforts: tuple[str, ...]
    service_tier_count: int


@dataclass(frozen=True, slots=True)
class PermissionProfileView:
    id: str
    description: str | None
    #: False: whoever administers this machine does not let it be chosen.
    allowed: bool


@dataclass(frozen=True, slots=True)
class ProviderView:
    web_search: bool | None
    image_generation: bool | None
    namespace_tools: bool | None


@dataclass(frozen=True, slots=True)
class HookCountView:
    total: int
    #: Those that Codex runs: switched on, and trusted.
    running: int


@dataclass(frozen=True, slots=True)
class SkillCountView:
    enabled: int


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Whether somebody is logged in. Not who."""

    logged_in: bool
    kind: str | None
    plan_type: str | None
    requires_openai_auth: bool


@dataclass(frozen=True, slots=True)
class RateLimitView:
    #: `primary` or `secondary`.
    window: str
    used_percent: int
    window_minutes: int | None
    resets_at: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCapabilities:
    #: `ok`, `partial` (some calls failed) or `unavailable`.
    status: str
    generated_at: Moment
    app_server: AppServerBrief
    schema_methods: SchemaMethods
    models: tuple[ModelView, ...] | None
    permission_profiles: tuple[PermissionProfileView, ...] | None
    #: `ready`; `unavailable` (no command can be run); on Windows `notConfigured`, `updateRequired`.
    sandbox_readiness: str | None
    sandbox_problem: str | None = field(default=None, metadata=OPTIONAL)
    model_provider_capabilities: ProviderView | None
    hooks: HookCountView | None
    skills: SkillCountView | None
    account_status: AccountStatus | None
    rate_limits: tuple[RateLimitView, ...] | None


@dataclass(frozen=True, slots=True)
class MethodResult:
    #: `ok`, `unsupported`, `skipped`, `error` or `timeout`.
    status: str
    elapsed_ms: int
    error_code: str | None


@dataclass(frozen=True, slots=True)
class CapabilitiesView:
    runtime_capabilities: RuntimeCapabilities
    method_results: Mapping[str, MethodResult]
    warnings: tuple[str, ...]
    #: `fresh`: asked now; `cached`: asked within five minutes; `stale`: asked before; `none`.
    cache_state: str


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    #: `ok`, `warning` (it runs, but see the message), `failed` (it would not run) or `unknown`.
    status: str
    message: str
    #: What to do; left out where there is nothing.
    advice: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class LiveProbe:
    """A tiny turn that was really run."""

    operation_id: str
    #: The operation's; while it is not final, follow it by its id.
    status: str
    thread_id: str | None
    answer: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightView:
    #: `ready`, `ready_with_warnings` or `not_ready`.
    status: str
    project_id: str | None = field(metadata=TACIT)
    cwd: str | None = field(metadata=TACIT)
    #: What the task would run with.
    model: str | None = field(metadata=TACIT)
    sandbox: str = field(metadata=TACIT)
    approval_policy: str = field(metadata=TACIT)
    checks: tuple[Check, ...]
    live_probe: LiveProbe | None = field(default=None, metadata=WHERE_IT_APPLIES)
    next_recommended_action: str
