"""Real processes are killed while the real Codex works, and every promise is kept."""

import faulthandler
import os
from pathlib import Path

import pytest

from codex_control_plane_mcp.selftest.real import run
from codex_control_plane_mcp.selftest.real.story import tell
from codex_control_plane_mcp.selftest.real.strikes import TARGETS, schedule

pytestmark = pytest.mark.real

SEED = 20
KILLS = 100

#: Imported by every Python process of the run. It makes a worker that loses the answer to the first
#: `turn/start` of a streaming task, does not look for evidence, and asks again.
NAIVE_WORKER = """
import importlib.abc
import importlib.machinery
import sys


def make_naive(driver):
    start_turn = driver.CodexSession.start_turn
    lost = set()

    async def find_no_turn(*_):
        return None

    async def lose_the_answer(session, verb, *more):
        turn = await start_turn(session, verb, *more)
        if "stream" in verb.input[0].text and verb.thread_id not in lost:
            lost.add(verb.thread_id)
            raise driver.AppServerGone("the answer was lost", maybe_sent=True)
        return turn

    driver.find_turn = find_no_turn
    driver.CodexSession.start_turn = lose_the_answer


class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "codex_control_plane_mcp.work.driver":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            make_naive(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Hook())
"""


def test_a_hundred_kills_lose_double_and_falsify_nothing() -> None:
    # It may take minutes on a busy machine, and has limits of its own: that is no hanging test.
    faulthandler.cancel_dump_traceback_later()
    progress: list[tuple[int, int]] = []
    result = run(KILLS, SEED, lambda done, of: progress.append((done, of)))
    assert result.is_good, "\n".join(result.notes)
    assert (result.lost, result.doubled, result.wrong) == (0, 0, 0)
    assert result.kills == KILLS, "\n".join(result.notes)
    assert progress == [(done, KILLS) for done in range(1, KILLS + 1)]
    assert sum(result.by_target.values()) == KILLS
    assert set(result.by_target) == {" + ".join(roles) for roles in TARGETS}
    # Work was done under fire, and some of it was hit.
    assert result.by_status["completed"] > KILLS / 2
    assert result.by_status["interrupted"] > 0


def test_a_worker_that_asks_again_without_evidence_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NAIVE_WORKER, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    result, _ = tell(0, SEED, lambda done, of: None, {"PYTHONPATH": path})
    assert result.doubled > 0
    assert any("doubled (I1)" in note for note in result.notes)


def test_the_same_seed_gives_the_same_kills() -> None:
    assert schedule(SEED, KILLS) == schedule(SEED, KILLS)
    assert schedule(SEED, KILLS) != schedule(SEED + 1, KILLS)
