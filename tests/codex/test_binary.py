"""The native binary is found: by the setting, behind npm's wrapper on PATH, in the package."""

import os
import platform
import sys
from pathlib import Path

import pytest

from codex_control_plane_mcp.codex.binary import find_binary, native, version
from codex_control_plane_mcp.codex.errors import BinaryNotFound

PLATFORM = f"{sys.platform}-{'arm64' if platform.machine() in ('arm64', 'aarch64') else 'x64'}"
NAME = "codex.exe" if sys.platform == "win32" else "codex"


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_setting_wins(tmp_path: Path) -> None:
    mine = executable(tmp_path / "mine")

    assert find_binary(str(mine), {"PATH": os.defpath}) == mine


def test_a_setting_that_names_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BinaryNotFound, match=r"CODEX_BINARY_PATH names .*missing"):
        find_binary(str(tmp_path / "missing"))


@pytest.mark.skipif(sys.platform == "win32", reason="npm makes a symlink on POSIX only")
@pytest.mark.parametrize(
    "place",
    [
        f"codex/node_modules/@openai/codex-{PLATFORM}/vendor/triple/bin/{NAME}",
        f"codex-{PLATFORM}/vendor/triple/bin/{NAME}",
        f"codex/vendor/triple/codex/{NAME}",
    ],
)
def test_behind_npms_wrapper_the_native_binary_is_found(tmp_path: Path, place: str) -> None:
    scope = tmp_path / "lib" / "node_modules" / "@openai"
    wrapper = executable(scope / "codex" / "bin" / "codex.js", "#!/usr/bin/env node\n")
    binary = executable(scope / place)
    link = tmp_path / "bin" / "codex"
    link.parent.mkdir()
    link.symlink_to(wrapper)

    assert find_binary(None, {"PATH": str(link.parent)}) == binary


def test_a_native_binary_on_path_is_taken_as_it_is(tmp_path: Path) -> None:
    binary = executable(tmp_path / NAME)

    assert native(binary) == binary


def test_a_wrapper_without_its_binary_is_better_than_nothing(tmp_path: Path) -> None:
    wrapper = executable(tmp_path / "codex" / "bin" / "codex.js")

    assert native(wrapper) == wrapper


@pytest.mark.real
async def test_without_a_setting_the_package_is_found_and_says_its_version(tmp_path: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    binary = find_binary(None, {"PATH": str(tmp_path)})

    assert (await version(binary) or "").startswith("0.")


async def test_what_has_no_version_has_none(tmp_path: Path) -> None:
    assert await version(tmp_path / "missing") is None
    assert await version(executable(tmp_path / "mute")) is None
