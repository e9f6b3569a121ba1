"""Settings: environment first, then the file, then defaults; whoever is wrong is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

from codex_control_plane_mcp import paths
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.settings import ApprovalPolicyName, SandboxMode, Settings, load


def from_file(folder: Path, environ: dict[str, str] | None = None, **keys: Any) -> Settings:
    file = folder / "settings.json"
    file.write_text(json.dumps(keys))
    return load({"CODEX_CONTROL_PLANE_MCP_CONFIG": str(file), **(environ or {})})


def test_the_defaults_are_safe() -> None:
    settings = load({})

    assert settings.default_sandbox == "read-only"
    assert settings.default_approval_policy == "on-request"
    assert settings.roots == ()
    assert settings.approval_response_timeout_seconds is None
    assert settings.state_db == Path(paths.state_db_path({}))
    assert set(settings.sources.values()) == {"default"}


def test_the_environment_wins_over_the_file_and_both_over_the_default(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        {"CODEX_MCP_DEFAULT_MODEL": "from-environment"},
        default_model="from-file",
        default_effort="high",
    )

    assert (settings.default_model, settings.default_effort) == ("from-environment", "high")
    assert settings.sources["default_model"] == "environment CODEX_MCP_DEFAULT_MODEL"
    assert settings.sources["default_effort"] == f"file {tmp_path / 'settings.json'}"
    assert settings.sources["default_sandbox"] == "default"


def test_the_older_variable_names_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text('{"default_model": "m"}')

    assert load({"OPENCLAW_CODEX_MCP_CONFIG": str(file)}).default_model == "m"


def test_a_file_of_the_former_version_is_read_by_its_names(tmp_path: Path) -> None:
    state = str(tmp_path / "s.sqlite3")
    settings = from_file(
        tmp_path,
        state_db_path=state,
        projects_registry_path=str(tmp_path / "projects.json"),
        kb_history_projects_root=str(tmp_path / "kb"),
        default_sandbox_policy="workspace-write",
    )

    assert str(settings.state_db) == state
    # The pipe finds the state without these settings, and has to find the same.
    environ = {"CODEX_CONTROL_PLANE_MCP_CONFIG": str(tmp_path / "settings.json")}
    assert paths.state_db_path(environ) == state
    assert settings.projects_registry == tmp_path / "projects.json"
    assert settings.kb_history_root == tmp_path / "kb"
    assert settings.default_sandbox == "workspace-write"


def test_what_the_former_version_read_and_nobody_reads_now_is_said_to_be_gone(
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidArgument, match=r"`execution_mode` .* 0\.2\.1 .* take it out"):
        from_file(tmp_path, execution_mode="worker")


def test_the_example_is_a_settings_file_that_can_be_used_as_it_is(tmp_path: Path) -> None:
    example = Path(__file__).parents[1] / "examples" / "codex-control-plane-mcp.config.json"
    settings = load({"CODEX_CONTROL_PLANE_MCP_CONFIG": str(example)})

    assert settings.default_sandbox == "read-only"
    assert settings.max_sandbox == "workspace-write"
    stated = {name for name, source in settings.sources.items() if source.startswith("file")}
    assert len(stated) == len(json.loads(example.read_text()))


def test_an_empty_value_is_no_value(tmp_path: Path) -> None:
    settings = from_file(tmp_path, {"CODEX_MCP_DEFAULT_MODEL": " "}, default_model=None)

    assert settings.default_model is None


@pytest.mark.parametrize("key", ["codex_projects_root", "projects_root"])
def test_a_key_is_the_variables_name_in_lower_case(tmp_path: Path, key: str) -> None:
    assert from_file(tmp_path, None, **{key: str(tmp_path)}).projects_root == tmp_path.resolve()


def test_a_setting_given_under_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="same setting"):
        from_file(tmp_path, codex_projects_root="/a", projects_root="/b")


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="`default_modell`"):
        from_file(tmp_path, default_modell="m")


def test_paths_are_expanded_and_roots_have_their_links_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", "work")
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "work")

    settings = load(
        {"CODEX_ALLOWED_ROOTS": f"~/link;{tmp_path}/a{os.pathsep}", "CODEX_HOME": "~/$WHERE/codex"}
    )

    real = tmp_path.resolve()
    assert settings.allowed_roots == (real / "work", real / "a")
    assert settings.codex_home == tmp_path / "work" / "codex"


def test_roots_may_be_a_list_in_the_file(tmp_path: Path) -> None:
    settings = from_file(tmp_path, allowed_roots=[str(tmp_path)], projects_root="/srv")

    assert settings.roots == (tmp_path.resolve(), Path("/srv").resolve())


@pytest.mark.parametrize("named", ["dropin, core,core", ["dropin", "core"]])
def test_tool_sets_are_named_in_a_list_or_with_commas(tmp_path: Path, named: object) -> None:
    settings = from_file(tmp_path, toolsets=named)

    assert settings.toolsets == ("core", "dropin")


@pytest.mark.parametrize(
    "stated", ["never,on-request", " on-request ; never;", "never,never,on-request"]
)
def test_the_allowed_approval_policies_are_one_text_or_a_list(tmp_path: Path, stated: str) -> None:
    allowed = ("on-request", "never")
    variable = {"CODEX_MCP_ALLOWED_APPROVAL_POLICIES": stated}
    assert load(variable).allowed_approval_policies == allowed
    listed = from_file(tmp_path, allowed_approval_policies=["never", "on-request"])
    assert listed.allowed_approval_policies == allowed


def test_without_ceilings_everything_is_allowed() -> None:
    assert load({}).max_sandbox == get_args(SandboxMode)[-1]
    assert load({}).allowed_approval_policies == get_args(ApprovalPolicyName)


@pytest.mark.parametrize(
    ("ceiling", "default"),
    [
        (
            {"CODEX_MCP_MAX_SANDBOX": "workspace-write"},
            {"CODEX_MCP_DEFAULT_SANDBOX": "danger-full-access"},
        ),
        ({"CODEX_MCP_ALLOWED_APPROVAL_POLICIES": "untrusted"}, {}),
        (
            {"CODEX_MCP_ALLOWED_APPROVAL_POLICIES": "untrusted;on-request"},
            {"CODEX_MCP_DEFAULT_APPROVAL_POLICY": "never"},
        ),
    ],
)
def test_a_default_above_its_ceiling_is_refused_and_both_are_named(
    ceiling: dict[str, str], default: dict[str, str]
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load(ceiling | default)
    assert all(name in refused.value.message for name in ceiling | default)


def test_a_webhook_is_https_or_on_this_machine_and_is_signed(tmp_path: Path) -> None:
    signed = {"CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")}

    def told(url: str, **more: str) -> str | None:
        return load({"CODEX_MCP_NOTICES_WEBHOOK_URL": url} | more).notices_webhook_url

    for url in (
        "https://example.org/hook",
        "http://localhost:8000/",
        "http://127.8.0.1/",
        "http://[::1]/",
    ):
        assert told(url, **signed) == url
    for url in ("http://example.org/", "http://127.0.0.1.example.org/", "http://10.0.0.1/"):
        with pytest.raises(InvalidArgument, match="CODEX_MCP_NOTICES_ALLOW_HTTP"):
            told(url, **signed)
        assert told(url, CODEX_MCP_NOTICES_ALLOW_HTTP="true", **signed) == url
    with pytest.raises(InvalidArgument, match="CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE"):
        told("https://example.org/hook")


def test_a_command_is_a_list_of_arguments(tmp_path: Path) -> None:
    argv = ("/usr/bin/tell", "a person")
    assert load({"CODEX_MCP_NOTICES_COMMAND": json.dumps(argv)}).notices_command == argv
    assert from_file(tmp_path, notices_command=list(argv)).notices_command == argv


def test_the_state_database_is_the_one_that_the_pipe_means(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"state_db": str(tmp_path / "s.sqlite3")}))
    for environ in (
        {},
        {"CODEX_MCP_STATE_DB": str(tmp_path / "x.sqlite3")},
        {"CODEX_CONTROL_PLANE_MCP_CONFIG": str(file)},
        {"XDG_STATE_HOME": str(tmp_path)},
    ):
        assert load(environ).state_db == Path(paths.state_db_path(environ))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CODEX_MCP_DEFAULT_SANDBOX", "none"),
        ("CODEX_MCP_DEFAULT_APPROVAL_POLICY", "always"),
        ("CODEX_MCP_MAX_SANDBOX", "none"),
        ("CODEX_MCP_ALLOWED_APPROVAL_POLICIES", "never,always"),
        ("CODEX_MCP_ALLOWED_APPROVAL_POLICIES", ";"),
        ("CODEX_MCP_MAX_ACTIVE_TURNS_GLOBAL", "0"),
        ("CODEX_MCP_MAX_ACTIVE_TURNS_PER_PROJECT", "many"),
        ("CODEX_MCP_MAX_ACTIVE_TURNS_PER_AGENT", "1.5"),
        ("CODEX_MCP_MAX_ACTIVE_TURNS_PER_THREAD", "2"),
        ("CODEX_MCP_APPROVAL_RESPONSE_TIMEOUT_SECONDS", "0"),
        ("CODEX_MCP_APPROVAL_RESPONSE_TIMEOUT_SECONDS", "nan"),
        ("CODEX_MCP_IDLE_EXIT_SECONDS", "-1"),
        ("CODEX_MCP_APP_SERVER", "remote"),
        ("CODEX_MCP_TOOLSETS", "core,all"),
        ("CODEX_MCP_TOOLSETS", ","),
        ("CODEX_MCP_NOTICES_WEBHOOK_URL", "example.org/hook"),
        ("CODEX_MCP_NOTICES_WEBHOOK_URL", "https://[::1"),
        ("CODEX_MCP_NOTICES_WEBHOOK_URL", "https://me:secret@example.org/"),
        ("CODEX_MCP_NOTICES_COMMAND", "notify me"),
        ("CODEX_MCP_NOTICES_COMMAND", "[]"),
        ("CODEX_MCP_NOTICES_COMMAND", '["notify", 1]'),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=variable):
        load({variable: value})


@pytest.mark.parametrize(
    "keys",
    [
        {"default_model": 5},
        {"allowed_roots": {"a": 1}},
        {"allowed_roots": [5]},
        {"allowed_approval_policies": []},
        {"allowed_approval_policies": [5]},
        {"max_active_turns_global": True},
        {"idle_exit_seconds": []},
        {"web": "maybe"},
        {"web_port": 70_000},
        {"web_port": 0.5},
        {"toolsets": {"core": True}},
        {"toolsets": ["core", ["read"]]},
        {"toolsets": []},
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_key(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    (key,) = keys
    with pytest.raises(InvalidArgument, match=key):
        from_file(tmp_path, None, **keys)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=r"settings\.json"):
        load({"CODEX_CONTROL_PLANE_MCP_CONFIG": str(file)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"nothing\.json"):
        load({"CODEX_CONTROL_PLANE_MCP_CONFIG": str(tmp_path / "nothing.json")})


def test_settings_and_model_know_the_same_policies() -> None:
    assert set(get_args(SandboxMode)) == {one.value for one in Sandbox}
    assert set(get_args(ApprovalPolicyName)) == {one.value for one in ApprovalPolicy}


@pytest.mark.parametrize(
    ("stated", "meant"), [("true", True), ("1", True), ("Off", False), ("0", False)]
)
def test_a_switch_is_on_or_off(stated: str, meant: bool) -> None:
    assert load({"DEEPSEEK_SUMMARY_ENABLED": stated}).deepseek_summary_enabled is meant


def test_a_switch_is_nothing_else(tmp_path: Path) -> None:
    assert from_file(tmp_path, deepseek_summary_enabled=True).deepseek_summary_enabled is True
    with pytest.raises(InvalidArgument, match="DEEPSEEK_SUMMARY_ENABLED must be true or false"):
        load({"DEEPSEEK_SUMMARY_ENABLED": "perhaps"})


def test_the_file_with_the_key_is_not_looked_for_in_the_working_folder() -> None:
    with pytest.raises(InvalidArgument, match="DEEPSEEK_ENV_PATH must be an absolute path"):
        load({"DEEPSEEK_ENV_PATH": ".env"})


def test_the_password_of_the_database_is_shown_nowhere() -> None:
    url = "postgresql://me:pa55word@db.example:5432/fleet?sslmode=require&password=pa55word"
    settings = load({"CODEX_MCP_DATABASE_URL": url})
    assert settings.book == url
    assert str(settings.database_url) == "postgresql://me@db.example:5432/fleet"
    assert "pa55word" not in repr(settings)


@pytest.mark.parametrize("url", ["mysql://me:pa55word@x/y", "pa55word", "postgresql://[pa55word"])
def test_what_is_no_database_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidArgument, match="CODEX_MCP_DATABASE_URL must be a URL") as refused:
        load({"CODEX_MCP_DATABASE_URL": url})
    assert "pa55word" not in str(refused.value)


def test_a_host_has_the_machines_name_unless_it_is_given_one() -> None:
    assert load({}).host
    assert load({"CODEX_MCP_HOST": "east.example"}).host == "east.example"
    with pytest.raises(InvalidArgument, match="CODEX_MCP_HOST must be a name"):
        load({"CODEX_MCP_HOST": "two words"})
