"""The examples do what they say, on real Codex."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.scripted_model import serving, write_codex_home
from tests.cli.commands import ADMIN, PATIENCE, environment, run
from tests.cli.conftest import folder as folder

CI_TASK = Path(__file__).parents[2] / "examples" / "ci_task.py"
PLAYBOOK = "when .\nsay Two tests are missing.\n"


@pytest.mark.real
@pytest.mark.anyio
async def test_a_job_that_is_run_again_gets_the_report_of_its_task(folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    (folder / "project").mkdir()
    async with serving(PLAYBOOK) as model:
        home = write_codex_home(folder / "codex-home", model.base_url)
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = environment(
            folder, CODEX_HOME=str(home), CODEX_PROJECTS_ROOT=str(folder), PATH=beside
        )
        line = [sys.executable, str(CI_TASK), "--key", "build-41", "--cwd", "project", "What?"]
        reports = []
        with anyio.fail_after(PATIENCE):
            for _ in range(2):
                done = await anyio.run_process(
                    line, env=env, cwd=folder, check=False, stderr=subprocess.STDOUT
                )
                assert done.returncode == 0, done.stdout.decode()
                reports.append(done.stdout.decode().strip())
        assert run(ADMIN, "stop", env=env).returncode == 0
        assert len(model.requests) == 1
    assert reports == ["Two tests are missing."] * 2
