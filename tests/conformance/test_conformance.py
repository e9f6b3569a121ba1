"""Every check of the official suite in both eras, with all of the tasks extension."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.suite import Suite, baseline, server_under_test

pytestmark = pytest.mark.conformance

BASELINE = Path(__file__).with_name("baseline.txt")
#: How many checks there are at least: a suite that finds nothing to check proves nothing.
CHECKS = {"2025-11-25": 80, "2026-07-28": 190}


@pytest.fixture(scope="module")
def suite() -> Suite:
    suite = Suite()
    suite.install()
    return suite


@pytest.mark.parametrize("revision", CHECKS)
def test_every_check_passes_but_those_that_are_known_to_fail(
    suite: Suite, tmp_path: Path, revision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_under_test() as url:
        checks = suite.run(revision, url, tmp_path)
    counted = Counter(check.status for check in checks)
    with capsys.disabled():
        print(f"\n{revision}: {dict(counted)}")  # noqa: T201  # the score is what one wants to see
    known = {line for line in baseline(BASELINE) if line.startswith(revision)}
    failing = {
        f"{revision} {check.scenario} {check.id}" for check in checks if check.status == "FAILURE"
    }
    assert failing - known == set()
    assert known - failing == set(), "stale: take these out of the baseline"
    assert counted["SUCCESS"] >= CHECKS[revision]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_finds_no_fault_in_what_the_pipe_offers(
    suite: Suite, tmp_path: Path, era: str
) -> None:
    pipe = Path(sys.executable).with_name("codex-control-plane-mcp")
    admin = pipe.with_name("codex-control-plane-mcp-admin")
    settings = {"CODEX_MCP_STATE_DB": str(tmp_path / "state.sqlite3"), "CODEX_HOME": str(tmp_path)}
    environ = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]

    def ask(*method: str) -> dict[str, object]:
        called = suite.inspect(
            *("--protocol-era", era, "--format", "json", *environ, *method, "--", str(pipe))
        )
        assert called.returncode == 0, called.stderr
        answer: dict[str, object] = json.loads(called.stdout)
        return answer

    assert ask("--method", "tools/list", "--strict")
    assert ask("--method", "resources/list")
    assert ask("--method", "resources/templates/list")
    assert ask("--method", "prompts/list")
    health = ask("--method", "tools/call", "--tool-name", "codex_health_summary")
    assert '"overallStatus"' in json.dumps(health)
    subprocess.run([admin, "stop"], env={**os.environ, **settings}, check=True, timeout=30)
