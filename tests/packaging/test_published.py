"""What is published says one thing, and works where it is installed.

Building and installing takes minutes: `make test-packaging` runs it. What is only read is read
with every run.
"""

import json
import os
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp import __version__, settings
from scripts import build
from tests.cli.commands import environment, processes_of
from tests.cli.conftest import folder as folder
from tests.installing import run

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"

packaging = pytest.mark.packaging


def stored(name: str) -> dict[str, Any]:
    text = (ROOT / name).read_text("utf-8")
    read: dict[str, Any] = tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
    return read


# --- What is only read ---------------------------------------------------------------------------


def test_one_version_and_one_name_everywhere() -> None:
    project = stored("pyproject.toml")["project"]
    registry, manifest = stored("server.json"), stored("mcpb/manifest.json")
    (package,) = registry["packages"]
    versions = [one["version"] for one in (project, registry, package, manifest)]
    assert versions == [__version__] * 4
    (needed,) = stored("mcpb/pyproject.toml")["project"]["dependencies"]
    assert needed == f"{project['name']}=={__version__}"
    assert package["identifier"] == project["name"] == manifest["name"]
    # By this line of its description on PyPI the registry knows whose package it is.
    assert f"mcp-name: {registry['name']} " in (ROOT / "README.md").read_text("utf-8")


def test_the_registry_is_told_of_settings_that_there_are() -> None:
    (package,) = stored("server.json")["packages"]
    known = {variable for variable, _ in settings._SETTINGS.values()}
    for variable in package["environmentVariables"]:
        assert variable["name"] in known
    assert set(stored("mcpb/manifest.json")["server"]["mcp_config"]["env"]) <= known


def test_the_registry_takes_a_description_of_a_hundred_characters_at_most() -> None:
    assert len(stored("server.json")["description"]) <= 100


def test_the_bundle_holds_its_manifest_and_is_the_same_each_time(tmp_path: Path) -> None:
    build.bundle(tmp_path / "first.mcpb")
    build.bundle(tmp_path / "second.mcpb")
    assert (tmp_path / "first.mcpb").read_bytes() == (tmp_path / "second.mcpb").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.mcpb") as archive:
        assert archive.namelist() == ["main.py", "manifest.json", "pyproject.toml", "LICENSE"]
        assert json.loads(archive.read("manifest.json"))["server"]["entry_point"] == "main.py"


# --- What is installed ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pipx and uv, from PyPI, in an environment of their own."""
    where = tmp_path_factory.mktemp("installers")
    run(sys.executable, "-m", "venv", where)
    run(where / "bin" / "python", "-m", "pip", "install", "--quiet", "pipx", "uv")
    return where / "bin"


def built(pattern: str) -> Path:
    (found,) = DIST.glob(pattern)
    return found


def tried(folder: Path, commands: Path) -> None:
    """Every command of the package says its version, and the server answers."""
    env = environment(folder, PATH=f"{commands}{os.pathsep}{os.environ['PATH']}")
    for name in stored("pyproject.toml")["project"]["scripts"]:
        assert __version__ in run(commands / name, "--version", env=env)
    told = json.loads(run(commands / "codex-control-plane-mcp-admin", "smoke", "--json", env=env))
    assert told["ok"] is True
    assert told["version"] == __version__
    assert processes_of(folder) == []


@packaging
def test_the_wheel_installs_with_pipx_and_answers(folder: Path, installers: Path) -> None:
    env = {
        **os.environ,
        "PIPX_HOME": str(folder / "pipx"),
        "PIPX_BIN_DIR": str(folder / "bin"),
        "PIPX_MAN_DIR": str(folder / "man"),
    }
    run(installers / "pipx", "install", built("*.whl"), env=env)
    tried(folder, folder / "bin")


@packaging
def test_the_sdist_installs_with_uv_and_answers(folder: Path, installers: Path) -> None:
    env = {
        **os.environ,
        "UV_TOOL_DIR": str(folder / "tools"),
        "UV_TOOL_BIN_DIR": str(folder / "bin"),
        "UV_PYTHON": sys.executable,
    }
    run(installers / "uv", "tool", "install", built("*.tar.gz"), env=env)
    tried(folder, folder / "bin")


@packaging
def test_the_bundle_starts_the_server_with_uv(folder: Path, installers: Path) -> None:
    """As a client unpacks it; the package comes from here, since it is not published yet."""
    with zipfile.ZipFile(built("*.mcpb")) as archive:
        archive.extractall(folder / "bundle")
    command = json.loads((folder / "bundle" / "manifest.json").read_text())["server"]["mcp_config"]
    arguments = [part.replace("${__dirname}", str(folder / "bundle")) for part in command["args"]]
    env = environment(folder, UV_FIND_LINKS=str(DIST), UV_PYTHON=sys.executable)
    told = run(installers / command["command"], *arguments, "--version", env=env)
    assert told.strip().endswith(f"codex-control-plane-mcp {__version__}")
