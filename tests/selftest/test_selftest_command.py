"""`selftest`, as a person runs it."""

import json
from pathlib import Path

from tests.cli.commands import ADMIN, environment, run


def test_a_case_is_told_again_by_its_name(tmp_path: Path) -> None:
    done = run(ADMIN, "selftest", "--case", "plan: undisturbed", env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "a crash at every point" in done.stdout
    assert "Every promise was kept." in done.stdout


def test_the_result_can_be_read_by_programs(tmp_path: Path) -> None:
    arguments = ("selftest", "--json", "--case", "stop: killed after turn/interrupt")
    done = run(ADMIN, *arguments, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["success"] is True
    sweep = next(one for one in said["sweeps"] if one["name"] == "a crash at every point")
    assert (sweep["histories"], sweep["deaths"]) == (1, 1)
    assert (sweep["lost"], sweep["doubled"], sweep["wrong"]) == (0, 0, 0)
    again = run(ADMIN, *arguments, env=environment(tmp_path))
    assert json.loads(again.stdout)["sweeps"][0]["digest"] == sweep["digest"]


def test_a_case_that_is_none_is_a_wrong_command(tmp_path: Path) -> None:
    done = run(ADMIN, "selftest", "--case", "nonsense", env=environment(tmp_path))
    assert done.returncode == 2
    assert "no case is called 'nonsense'" in done.stderr


def test_a_broken_promise_is_told_in_words_and_fails_the_command(tmp_path: Path) -> None:
    # The fault sweep of a product whose journal skips numbers: the command in a mutant's place.
    code = (
        "import sys\n"
        "from codex_control_plane_mcp.selftest import mutants\n"
        "mutant = next(one for one in mutants.MUTANTS if one.name == 'numbers-skipped')\n"
        "sys.meta_path.insert(0, mutants.Surgeon(mutant.edits))\n"
        "from codex_control_plane_mcp.doors.cli.selftest import Asked, run\n"
        "sys.exit(run(Asked(case='plan: undisturbed'), as_json=False))\n"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(tmp_path),
    )
    assert done.returncode == 1, done.stderr
    assert "plan: undisturbed: I8" in done.stdout
    assert "--case" in done.stdout
