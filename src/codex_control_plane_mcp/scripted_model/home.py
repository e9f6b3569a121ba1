"""A private CODEX_HOME whose only model is the scripted one, and which stays off the network.

It changes what Codex reaches for, not how it works: approvals, sandbox, hooks and plan mode are
Codex's own. No account, key or existing configuration is read.
"""

import json
from collections.abc import Sequence
from pathlib import Path

PROVIDER = "scripted"

#: Tells Codex about the model. Without it Codex warns about missing metadata, sends its own long
#: instructions, and offers no apply_patch. Every field that some supported Codex requires is here.
_MODEL_METADATA: dict[str, object] = {
    "description": "Plays a script; see the prompt.",
    "default_reasoning_level": "medium",
    "supported_reasoning_levels": [
        {"effort": effort, "description": f"{effort} effort (the script plays the same)"}
        for effort in ("low", "medium", "high")
    ],
    "shell_type": "unified_exec",
    "visibility": "list",
    "supported_in_api": True,
    "priority": 1,
    "availability_nux": None,
    "upgrade": None,
    "base_instructions": "You are a scripted model: play the script in the user's message.",
    "supports_reasoning_summaries": True,
    "default_reasoning_summary": "auto",
    "support_verbosity": False,
    "default_verbosity": None,
    "apply_patch_tool_type": "freeform",
    "truncation_policy": {"mode": "tokens", "limit": 10_000},
    "supports_parallel_tool_calls": False,
    "context_window": 272_000,
    "experimental_supported_tools": [],
}

_CONFIG = """\
model = {model}
model_provider = "{provider}"
model_catalog_json = {catalog}
check_for_update_on_startup = false
# A command means the same everywhere: the profile of the user who runs it stays out of it.
allow_login_shell = false
web_search = "disabled"
# No keyring: a test must not ask the desktop for a password.
cli_auth_credentials_store = "file"
mcp_oauth_credentials_store = "file"

[model_providers.{provider}]
name = "Scripted model"
base_url = {base_url}
wire_api = "responses"
request_max_retries = {request_max_retries}
stream_max_retries = {stream_max_retries}

[analytics]
enabled = false

[feedback]
enabled = false

[features]
# These ask servers for catalogues, or run the user's shell profile in the background.
apps = false
plugins = false
remote_plugin = false
tool_suggest = false
shell_snapshot = false
{features}"""


def write_codex_home(
    folder: Path,
    base_url: str,
    model: str = "scripted",
    *,
    request_max_retries: int = 0,
    stream_max_retries: int = 0,
    features: Sequence[str] = (),
    more_config: str = "",
) -> Path:
    """Make `folder` a CODEX_HOME for the model at `base_url` (its root, as `serving` gives it).

    `features` are flags of Codex to switch on. `more_config` is added at the end, so it holds TOML
    tables, for example `[mcp_servers.x]`. Returns the folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    catalog = folder.resolve() / "scripted-models.json"
    metadata = {"slug": model, "display_name": "Scripted model", **_MODEL_METADATA}
    catalog.write_text(json.dumps({"models": [metadata]}, indent=1), encoding="utf-8")
    config = _CONFIG.format(
        model=_toml(model),
        provider=PROVIDER,
        catalog=_toml(str(catalog)),
        base_url=_toml(f"{base_url.rstrip('/')}/v1"),
        request_max_retries=request_max_retries,
        stream_max_retries=stream_max_retries,
        features="".join(f"{name} = true\n" for name in features),
    )
    (folder / "config.toml").write_text(f"{config}\n{more_config}", encoding="utf-8")
    return folder


def _toml(text: str) -> str:
    # A JSON string is a TOML basic string, unless JSON writes surrogate escapes.
    return json.dumps(text, ensure_ascii=False)
