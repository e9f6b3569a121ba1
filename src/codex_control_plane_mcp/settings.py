"""What the person decided: environment first, then one JSON file, then defaults that are safe.

Read once at the start of a process. Whether a folder exists or a Codex can be started is not asked
here; a value that cannot be meant is refused by its name.
"""

import ipaddress
import json
import math
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from codex_control_plane_mcp import paths
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.journal_hook import spool_of

SandboxMode = Literal["read-only", "workspace-write", "danger-full-access"]
ApprovalPolicyName = Literal["untrusted", "on-request", "never"]
AppServerMode = Literal["auto", "private", "shared", "stdio"]
WebMode = Literal["on", "read-only", "off"]
#: Holds a password, so it is given to nobody else.
DATABASE_VARIABLE = "CODEX_MCP_DATABASE_URL"
#: A host's name, or a label, is as long at most.
MAX_HOST_CHARS = 63
#: What tools can be offered by.
ToolSet = Literal["core", "read", "lifecycle", "diagnose", "compat", "dropin"]


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The URL of a PostgreSQL database. It is shown without what may be secret in it."""

    secret: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.secret)
        user, at, where = parts.netloc.rpartition("@")
        return f"postgresql://{user.partition(':')[0]}{at}{where}{parts.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every path is absolute; the roots have their symbolic links resolved."""

    state_db: Path
    #: The book of a fleet, instead of the file; what is this machine's own stays beside that.
    database_url: "DatabaseUrl | None" = None
    #: By what name the fleet knows this host; it needs one for each Codex home.
    host: str = field(default_factory=lambda: _machine_name())
    #: How many turns this host may have at once; the other limits are those of the fleet.
    host_capacity: int = 4
    #: What a host of the fleet had in hand is given up after it was away for so long, and done anew
    #: elsewhere. None: a person decides.
    requeue_after_seconds: float | None = None
    #: What a task may ask its host to have, as `gpu` or `os=linux`.
    host_labels: tuple[str, ...] = ()
    codex_home: Path
    #: Every folder directly below is a project.
    projects_root: Path | None = None
    #: Codex may be sent to these folders, and below them.
    allowed_roots: tuple[Path, ...] = ()
    projects_registry: Path | None = None
    #: Files of an older history, only read.
    kb_history_root: Path | None = None
    log_path: Path | None = None
    #: `None`: the installed one is looked for.
    codex_binary: Path | None = None
    default_sandbox: SandboxMode = "read-only"
    default_approval_policy: ApprovalPolicyName = "on-request"
    #: No task may ask for more than this sandbox, nor for another approval policy than these.
    max_sandbox: SandboxMode = "danger-full-access"
    allowed_approval_policies: tuple[ApprovalPolicyName, ...] = get_args(ApprovalPolicyName)
    #: `None`: Codex decides.
    default_model: str | None = None
    default_effort: str | None = None
    #: Codex is told "no" after this long; `None`: it waits for a person as long as it takes.
    approval_response_timeout_seconds: float | None = None
    max_active_turns_global: int = 4
    max_active_turns_per_project: int = 3
    max_active_turns_per_agent: int = 3
    #: Codex takes one turn at a time in a thread; more cannot be had.
    max_active_turns_per_thread: int = 1
    max_active_write_turns_per_project: int = 1
    #: `auto`: Codex's shared app-server where one answers, else one of our own.
    app_server: AppServerMode = "auto"
    #: Whether what Codex's hooks told is taken into the book, or thrown away.
    hook_history_enabled: bool = True
    #: Longer texts of the hooks are cut.
    hook_history_max_text_chars: int = 20_000
    #: The worker leaves when nobody was connected and nothing was unfinished for this long.
    idle_exit_seconds: float = 600.0
    #: The tools that clients are offered; those of the worker count, whatever a pipe was given.
    toolsets: tuple[ToolSet, ...] = ("core", "read", "lifecycle", "diagnose", "compat")
    #: MCP over HTTP on this machine, at this port; `None`: not at all.
    http_port: int | None = None
    #: Whether long chats may be sent elsewhere to be summed up; see `desk.summary`.
    deepseek_summary_enabled: bool = False
    #: Where the key and the URL for that are, if not in the environment.
    deepseek_env_path: Path | None = None
    #: The page for people; `read-only`: it shows everything and changes nothing.
    web: WebMode = "on"
    #: Where it listens on 127.0.0.1; 0: the system chooses, and it stays the same.
    web_port: int = 0
    #: Who is told what needs a person and what has ended: a URL, a command, this machine's desktop.
    notices_webhook_url: str | None = None
    #: A file with the key that signs what is sent there; it is in no setting, so none shows it.
    notices_webhook_secret_file: Path | None = None
    #: Whether it may be plain http to another machine.
    notices_allow_http: bool = False
    notices_command: tuple[str, ...] = ()
    notices_desktop: bool = False
    #: Whether they are also told what was asked and reported.
    notices_include_text: bool = False
    #: Where each field's value comes from: `default`, `environment NAME` or `file PATH`.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def book(self) -> Path | str:
        """Where the book is: the path of a file, or a PostgreSQL URL with its password."""
        return self.state_db if self.database_url is None else self.database_url.secret

    @property
    def book_host(self) -> str:
        """Who we are in that book: the host's name in a fleet; a file has but one host."""
        return "" if self.database_url is None else self.host

    @property
    def home_mark(self) -> Path:
        """Where the mark is kept that tells this host from others of its name."""
        return self.state_db.with_name(f"{self.state_db.name}.host")

    @property
    def app_server_folder(self) -> Path:
        """Where our app-server's record, lock and log are kept."""
        return self.state_db.with_name(f"{self.state_db.name}.app-server")

    @property
    def spool_folder(self) -> Path:
        """Where is kept what Codex says while the state does not answer."""
        return self.state_db.with_name(f"{self.state_db.name}.spool")

    @property
    def worktrees_folder(self) -> Path:
        """Where the git worktrees are kept that operations asked for."""
        return self.state_db.with_name(f"{self.state_db.name}.worktrees")

    @property
    def hook_spool(self) -> Path:
        """Where Codex's hooks leave what they were told."""
        return Path(spool_of(str(self.state_db)))

    @property
    def search_index(self) -> Path:
        """The index of the search: made from the book, and of this machine."""
        return self.state_db.with_name(f"{self.state_db.name}.search")

    @property
    def web_file(self) -> Path:
        """Where the page's port and the key of its sessions are kept, so that an open page finds
        the next worker."""
        return self.state_db.with_name(f"{self.state_db.name}.web.json")

    @property
    def metrics_token_file(self) -> Path:
        """The token of who may read the metrics."""
        return self.state_db.with_name(f"{self.state_db.name}.metrics.token")

    @property
    def worker_log(self) -> Path:
        """Where the worker's log goes: beside the state, unless it was told otherwise."""
        return self.log_path or self.state_db.with_name(f"{self.state_db.name}.worker.log")

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where Codex may be sent to work: the allowed roots and the projects' root."""
        return self.allowed_roots + (() if self.projects_root is None else (self.projects_root,))


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in force.

    Raises InvalidArgument naming the setting that cannot be used.
    """
    file_path, from_file = _read_file(environ)
    values: dict[str, object] = {
        "state_db": _real_path(str(Path(paths.default_state_folder(environ), paths.STATE_FILE))),
        "codex_home": Path(paths.expand("~/.codex")).absolute(),
    }
    sources = {name.name: "default" for name in fields(Settings) if name.name != "sources"}
    for name, (variable, read) in _SETTINGS.items():
        if stated := environ.get(variable, "").strip():
            values[name] = _checked(read, stated, variable)
            sources[name] = f"environment {variable}"
        elif (given := from_file.get(name)) is not None:
            key, value = given
            values[name] = _checked(read, value, f"{key} in the settings file {file_path}")
            sources[name] = f"file {file_path}"
    settings = Settings(**values, sources=MappingProxyType(sources))  # type: ignore[arg-type]
    _refuse_defaults_above_the_ceilings(settings)
    _refuse_an_unsafe_webhook(settings)
    return settings


def _refuse_defaults_above_the_ceilings(settings: Settings) -> None:
    modes: tuple[str, ...] = get_args(SandboxMode)
    if modes.index(settings.default_sandbox) > modes.index(settings.max_sandbox):
        raise InvalidArgument(
            f"CODEX_MCP_DEFAULT_SANDBOX is {settings.default_sandbox}, and CODEX_MCP_MAX_SANDBOX "
            f"allows {settings.max_sandbox} at most; lower the one or raise the other",
            setting="CODEX_MCP_DEFAULT_SANDBOX",
        )
    if settings.default_approval_policy not in settings.allowed_approval_policies:
        allowed = ", ".join(settings.allowed_approval_policies)
        raise InvalidArgument(
            f"CODEX_MCP_DEFAULT_APPROVAL_POLICY is {settings.default_approval_policy}, and "
            f"CODEX_MCP_ALLOWED_APPROVAL_POLICIES allows only {allowed}; set the default to one of "
            "these",
            setting="CODEX_MCP_DEFAULT_APPROVAL_POLICY",
        )


def _refuse_an_unsafe_webhook(settings: Settings) -> None:
    if settings.notices_webhook_url is None:
        return
    url = urlsplit(settings.notices_webhook_url)
    if url.scheme == "http" and not (is_loopback(url.hostname) or settings.notices_allow_http):
        raise InvalidArgument(
            "CODEX_MCP_NOTICES_WEBHOOK_URL is plain http to another machine, where anybody on the "
            "way can read it; use https, or set CODEX_MCP_NOTICES_ALLOW_HTTP to true",
            setting="CODEX_MCP_NOTICES_WEBHOOK_URL",
        )
    if settings.notices_webhook_secret_file is None:
        raise InvalidArgument(
            "CODEX_MCP_NOTICES_WEBHOOK_URL is set, and nothing to sign with: name a file that "
            "holds a secret (`whsec_` and 24 to 64 bytes in base64) in "
            "CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE",
            setting="CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE",
        )


def is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- The file ------------------------------------------------------------------------------------


def _read_file(environ: Mapping[str, str]) -> tuple[str | None, dict[str, tuple[str, object]]]:
    """The file's path, and by field the key it was given under and its value."""
    path = paths.config_path(environ)
    if path is None:
        return None, {}
    found: dict[str, tuple[str, object]] = {}
    for key, value in _load_object(path).items():
        name = _BY_KEY.get(key)
        if key in _RETIRED_KEYS:
            raise InvalidArgument(
                f"`{key}` in the settings file {path} was a setting of 0.2.1 and means nothing any "
                "more; take it out",
                setting=key,
            )
        if name is None:
            raise InvalidArgument(
                f"unknown setting `{key}` in the settings file {path}; "
                f"known are: {', '.join(_key(variable) for variable, _ in _SETTINGS.values())}",
                setting=key,
            )
        if name in found:
            raise InvalidArgument(
                f"`{key}` and `{found[name][0]}` in the settings file {path} are the same "
                "setting; keep one of them",
                setting=key,
            )
        if value is not None and value != "":
            found[name] = (key, value)
    return path, found


def _load_object(path: str) -> dict[str, object]:
    try:
        loaded = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument(
            f"cannot read the settings file {path}: {error.strerror}", setting=path
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"the settings file {path} is not valid JSON: {error}", setting=path
        ) from error
    if not isinstance(loaded, dict):
        raise InvalidArgument(f"the settings file {path} must hold one JSON object", setting=path)
    return loaded


# --- Values --------------------------------------------------------------------------------------


def _checked(read: Callable[[object], object], value: object, called: str) -> object:
    try:
        return read(value)
    except ValueError as error:
        raise InvalidArgument(f"{called} {error}", setting=called) from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("must be a text in quotes")
    return value.strip()


def _path(value: object) -> Path:
    """An absolute path whose links are kept: Codex shall see the name that the person gave."""
    return Path(paths.expand(_text(value))).absolute()


def _absolute_path(value: object) -> Path:
    """A file that must not depend on the folder that a process happens to start in."""
    path = Path(paths.expand(_text(value)))
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _database_url(value: object) -> DatabaseUrl:
    # What was given is not repeated: it may hold a password.
    url = _text(value)
    with suppress(ValueError):
        if url.startswith(("postgresql://", "postgres://")) and str(DatabaseUrl(url)).isprintable():
            return DatabaseUrl(url)
    raise ValueError("must be a URL: postgresql://user@host:5432/database")


def _machine_name() -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-.")
    return name[:MAX_HOST_CHARS] or "host"


def _host(value: object) -> str:
    name = _text(value)
    if len(name) > MAX_HOST_CHARS or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(
            f"must be a name of letters, digits, dots and dashes, {MAX_HOST_CHARS} at most"
        )
    return name


def _labels(value: object) -> tuple[str, ...]:
    named = value.replace(";", ",").split(",") if isinstance(value, str) else value
    if not isinstance(named, list):
        raise ValueError("must be a list of labels, or one text with commas between")
    try:
        return labels_of(_text(name) for name in named if name != "")
    except ValueError as error:
        raise ValueError(f"must be labels: {error}") from error


def labels_of(named: Iterable[str]) -> tuple[str, ...]:
    """Each once and in order. Raises ValueError for what is no label."""
    labels = tuple(sorted(set(named)))
    for label in labels:
        if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._=/-]{{0,{MAX_HOST_CHARS - 1}}}", label):
            raise ValueError(
                f"{label[:80]!r} is none; letters, digits and . _ = / - are, as in gpu or os=linux"
            )
    return labels


def _switch(value: object) -> bool:
    match value:
        case bool():
            return value
        case str() if value.strip().lower() in ("1", "true", "yes", "on"):
            return True
        case str() if value.strip().lower() in ("0", "false", "no", "off"):
            return False
        case _:
            raise ValueError("must be true or false")


def _url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError("must be a URL: https://host/path") from error
    if not usable:
        raise ValueError("must be a URL: https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not have a name or a password in it: it is shown and logged")
    return text


def _command(value: object) -> tuple[str, ...]:
    """A list of arguments; in the environment, as JSON. No shell reads it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or not value:
        raise ValueError('must be a list of a program and its arguments: ["/usr/bin/tell", "me"]')
    return tuple(_text(one) for one in value)


def _real_path(value: object) -> Path:
    return Path(paths.canonical(_text(value)))


def _roots(value: object) -> tuple[Path, ...]:
    if isinstance(value, str):
        named = value.replace(";", os.pathsep).split(os.pathsep)
        return tuple(_real_path(name) for name in named if name.strip())
    if isinstance(value, list):
        return tuple(_real_path(name) for name in value)
    raise ValueError(f"must be a list of folders, or one text with `;` or `{os.pathsep}` between")


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return str(value)

    return read


def _some_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    """Each once, in the order of `choices`, from a list or from one text with commas between."""

    def read(value: object) -> tuple[str, ...]:
        named = value.replace(";", ",").split(",") if isinstance(value, str) else value
        if not isinstance(named, list):
            raise ValueError("must be a list of names, or one text with commas between")
        names = [name.strip() if isinstance(name, str) else name for name in named]
        stated = [name for name in names if name != ""]
        if not stated or any(name not in choices for name in stated):
            raise ValueError(f"must name some of: {', '.join(choices)}")
        return tuple(choice for choice in choices if choice in stated)

    return read


def _count(value: object) -> int:
    number = _number(value)
    if number < 1 or number != int(number):
        raise ValueError("must be a whole number, 1 or more")
    return int(number)


def _port(value: object) -> int:
    number = _number(value)
    if not 1 <= number <= 65_535 or number != int(number):
        raise ValueError("must be a port, 1 to 65535")
    return int(number)


def _any_port(value: object) -> int:
    """A port, or 0 for one that the system chooses."""
    return 0 if _number(value) == 0 else _port(value)


def _just_one(value: object) -> int:
    if _number(value) != 1:
        raise ValueError("can only be 1: Codex takes one turn at a time in a thread")
    return 1


def _seconds(value: object) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError("must be a number of seconds, 0 or more")
    return number


def _a_minute_or_more(value: object) -> float:
    # One that was cut off for a moment is not gone, and is looked for every 20 seconds.
    if (seconds := _seconds(value)) < 60:
        raise ValueError("must be 60 or more")
    return seconds


def _some_seconds(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("must be a number of seconds above 0; leave it out to wait for ever")
    return number


def _number(value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("must be a number")
    return number


#: field → (environment variable, how its value is read)
_SETTINGS: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "state_db": (paths.STATE_DB_VARIABLE, _real_path),
    "database_url": (DATABASE_VARIABLE, _database_url),
    "host": ("CODEX_MCP_HOST", _host),
    "host_capacity": ("CODEX_MCP_HOST_CAPACITY", _count),
    "requeue_after_seconds": ("CODEX_MCP_REQUEUE_AFTER_SECONDS", _a_minute_or_more),
    "host_labels": ("CODEX_MCP_HOST_LABELS", _labels),
    "codex_home": ("CODEX_HOME", _path),
    "projects_root": ("CODEX_PROJECTS_ROOT", _real_path),
    "allowed_roots": ("CODEX_ALLOWED_ROOTS", _roots),
    "projects_registry": ("CODEX_PROJECTS_REGISTRY", _path),
    "kb_history_root": ("CODEX_KB_HISTORY_PROJECTS_ROOT", _real_path),
    "log_path": ("CODEX_CONTROL_PLANE_MCP_LOG", _path),
    "codex_binary": ("CODEX_BINARY_PATH", _path),
    "default_sandbox": ("CODEX_MCP_DEFAULT_SANDBOX", _one_of(*get_args(SandboxMode))),
    "default_approval_policy": (
        "CODEX_MCP_DEFAULT_APPROVAL_POLICY",
        _one_of(*get_args(ApprovalPolicyName)),
    ),
    "max_sandbox": ("CODEX_MCP_MAX_SANDBOX", _one_of(*get_args(SandboxMode))),
    "allowed_approval_policies": (
        "CODEX_MCP_ALLOWED_APPROVAL_POLICIES",
        _some_of(*get_args(ApprovalPolicyName)),
    ),
    "default_model": ("CODEX_MCP_DEFAULT_MODEL", _text),
    "default_effort": ("CODEX_MCP_DEFAULT_EFFORT", _text),
    "approval_response_timeout_seconds": (
        "CODEX_MCP_APPROVAL_RESPONSE_TIMEOUT_SECONDS",
        _some_seconds,
    ),
    "max_active_turns_global": ("CODEX_MCP_MAX_ACTIVE_TURNS_GLOBAL", _count),
    "max_active_turns_per_project": ("CODEX_MCP_MAX_ACTIVE_TURNS_PER_PROJECT", _count),
    "max_active_turns_per_agent": ("CODEX_MCP_MAX_ACTIVE_TURNS_PER_AGENT", _count),
    "max_active_turns_per_thread": ("CODEX_MCP_MAX_ACTIVE_TURNS_PER_THREAD", _just_one),
    "max_active_write_turns_per_project": (
        "CODEX_MCP_MAX_ACTIVE_WRITE_TURNS_PER_PROJECT",
        _count,
    ),
    "app_server": ("CODEX_MCP_APP_SERVER", _one_of(*get_args(AppServerMode))),
    "hook_history_enabled": ("CODEX_MCP_HOOK_HISTORY_ENABLED", _switch),
    "hook_history_max_text_chars": ("CODEX_MCP_HOOK_HISTORY_MAX_TEXT_CHARS", _count),
    "idle_exit_seconds": ("CODEX_MCP_IDLE_EXIT_SECONDS", _seconds),
    "toolsets": ("CODEX_MCP_TOOLSETS", _some_of(*get_args(ToolSet))),
    "http_port": ("CODEX_MCP_HTTP_PORT", _port),
    "web": ("CODEX_MCP_WEB", _one_of(*get_args(WebMode))),
    "web_port": ("CODEX_MCP_WEB_PORT", _any_port),
    "notices_webhook_url": ("CODEX_MCP_NOTICES_WEBHOOK_URL", _url),
    "notices_webhook_secret_file": ("CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE", _absolute_path),
    "notices_allow_http": ("CODEX_MCP_NOTICES_ALLOW_HTTP", _switch),
    "notices_command": ("CODEX_MCP_NOTICES_COMMAND", _command),
    "notices_desktop": ("CODEX_MCP_NOTICES_DESKTOP", _switch),
    "notices_include_text": ("CODEX_MCP_NOTICES_INCLUDE_TEXT", _switch),
    "deepseek_summary_enabled": ("DEEPSEEK_SUMMARY_ENABLED", _switch),
    "deepseek_env_path": ("DEEPSEEK_ENV_PATH", _absolute_path),
}


def _key(variable: str) -> str:
    """The variable's name in the file."""
    return variable.removeprefix("CODEX_MCP_").lower()


#: What 0.2.1 called them in its file, where it is none of the names of today.
_FORMER_KEYS: Final[dict[str, str]] = {
    paths.FORMER_STATE_DB_KEY: "state_db",
    "projects_registry_path": "projects_registry",
    "kb_history_projects_root": "kb_history_root",
    "default_sandbox_policy": "default_sandbox",
}
#: What 0.2.1 read in its file and nobody reads now.
_RETIRED_KEYS: Final = frozenset(
    {
        "archived_sessions_dir",
        "codex_logs_db",
        "codex_state_db",
        "deepseek_max_input_chars_per_chunk",
        "deepseek_max_summary_tokens",
        "deepseek_recent_messages_limit",
        "deepseek_small_history_chars",
        "deepseek_small_history_message_limit",
        "deepseek_summary_max_retries_cap",
        "deepseek_summary_required",
        "deepseek_summary_timeout_cap_seconds",
        "deepseek_temperature",
        "default_summary",
        "default_tail_max_chars",
        "default_tail_max_messages",
        "execution_mode",
        "max_app_server_pending_requests",
        "max_image_input_bytes",
        "max_image_input_items",
        "rolling_summary_enabled",
        "sessions_dir",
        "stalled_turn_action",
        "start_app_server_for_read_tools",
        "turn_stall_timeout_seconds",
    }
)

#: Every spelling a field may have in the file: `CODEX_HOME` is `codex_home`, and the others may
#: drop `codex_` too, as `projects_root`.
_BY_KEY: Final[Mapping[str, str]] = {
    spelling: name
    for name, (variable, _) in _SETTINGS.items()
    for spelling in (_key(variable), name)
} | _FORMER_KEYS


def unread(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that look like settings of ours and are none: misspelt, or of an older version."""
    known = {variable for variable, _ in _SETTINGS.values()}
    return tuple(
        sorted(name for name in environ if name.startswith("CODEX_MCP_") and name not in known)
    )
