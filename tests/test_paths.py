"""Which database file is meant, and where it lies when nobody says."""

import json
import os
from pathlib import Path

import platformdirs
import pytest

from codex_control_plane_mcp import paths


@pytest.mark.parametrize("xdg", [None, "", "relative/state", "/var/xdg state"])
def test_the_default_folder_is_the_one_platformdirs_names(
    xdg: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_STATE_HOME", xdg)
    expected = platformdirs.user_state_dir("codex-control-plane-mcp", appauthor=False)
    assert paths.default_state_folder(os.environ) == expected


def test_without_settings_the_database_lies_in_the_default_folder(tmp_path: Path) -> None:
    found = paths.state_db_path({"XDG_STATE_HOME": str(tmp_path)})
    assert found == str(tmp_path / "codex-control-plane-mcp" / "state.sqlite3")


def test_the_environment_wins_over_the_settings_file(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"state_db": str(tmp_path / "of-config")})
    environ = {
        "CODEX_CONTROL_PLANE_MCP_CONFIG": config,
        "CODEX_MCP_STATE_DB": str(tmp_path / "of-environment"),
    }
    assert paths.state_db_path(environ) == str(tmp_path / "of-environment")


@pytest.mark.parametrize("variable", paths.CONFIG_VARIABLES)
def test_the_settings_file_names_the_database(variable: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"state_db": str(tmp_path / "named"), "log": "x"})
    assert paths.state_db_path({variable: config}) == str(tmp_path / "named")


def test_a_settings_file_without_the_key_leaves_the_default(tmp_path: Path) -> None:
    environ = {
        "CODEX_CONTROL_PLANE_MCP_CONFIG": write_config(tmp_path, {}),
        "XDG_STATE_HOME": str(tmp_path),
    }
    assert paths.state_db_path(environ).endswith("codex-control-plane-mcp/state.sqlite3")


def test_home_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", "deep")
    assert paths.state_db_path({"CODEX_MCP_STATE_DB": "~/$WHERE/state"}) == str(
        tmp_path / "deep" / "state"
    )


def test_two_spellings_of_one_file_are_one_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    spellings = [tmp_path / "link" / "db", tmp_path / "real" / ".." / "real" / "db"]
    found = {paths.state_db_path({"CODEX_MCP_STATE_DB": str(spelling)}) for spelling in spellings}
    assert found == {str(tmp_path / "real" / "db")}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "one JSON object"),
        ('{"state_db": 7}', "`state_db`"),
        (None, "cannot read"),
    ],
)
def test_an_unusable_settings_file_is_named_in_the_error(
    text: str | None, complaint: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    if text is not None:
        config.write_text(text)
    with pytest.raises(paths.PathError, match=complaint) as caught:
        paths.state_db_path({"CODEX_CONTROL_PLANE_MCP_CONFIG": str(config)})
    assert str(config) in str(caught.value)


def test_folders_are_created_closed_to_others_and_existing_ones_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    paths.make_private_folder(str(tmp_path / "a" / "b"))
    paths.make_private_folder(str(tmp_path / "a" / "b"))
    modes = [folder.stat().st_mode & 0o777 for folder in (tmp_path, tmp_path / "a" / "b")]
    assert modes == [0o755, 0o700]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(FileExistsError):
        paths.make_private_folder(str(tmp_path / "taken"))


def write_config(folder: Path, settings: dict[str, str]) -> str:
    config = folder / "config.json"
    config.write_text(json.dumps(settings))
    return str(config)
