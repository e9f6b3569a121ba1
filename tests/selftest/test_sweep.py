"""The promises hold in every history. This is the proof that runs in CI."""

import os
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from codex_control_plane_mcp.selftest.run import Tally, silence, tell_all
from codex_control_plane_mcp.selftest.scenario import SCENARIOS
from codex_control_plane_mcp.selftest.sweep import (
    Case,
    FreshDatabase,
    at_random,
    every_fault,
    every_point,
    tell,
)

if os.name == "posix":
    from tests.postgres import Postgres


@pytest.fixture(autouse=True)
def _processes_without_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the same lines in a thousand histories takes most of the time, and shows nothing
    that other tests do not: what the sweep does in this process is measured."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> FreshDatabase | None:
    """Where histories are told with `--book=postgres`."""
    if request.config.getoption("--book") != "postgres":
        return None
    server = request.getfixturevalue("postgres_server")
    return partial(_emptied, server.host, server.pid)


def _emptied(host: Path, pid: int) -> AbstractContextManager[str]:
    return Postgres(host, pid).emptied()


def _tallied(cases: list[Case], database: FreshDatabase | None = None) -> Tally:
    tally = Tally()
    for told in tell_all(cases, database=database):
        tally.add(told)
    return tally


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_lost_doubled_or_wrong_wherever_the_worker_dies(
    scenario: str, database: FreshDatabase | None
) -> None:
    tally = _tallied(list(every_point(scenario)), database)
    assert tally.breaches == []
    assert tally.deaths > 50


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_lost_doubled_or_wrong_whatever_codex_does(
    scenario: str, database: FreshDatabase | None
) -> None:
    tally = _tallied(list(every_fault(scenario)), database)
    assert tally.breaches == []
    assert tally.histories > 40


def test_the_same_seed_is_the_same_history() -> None:
    with silence():
        cases = list(at_random(seed=7, kills=12))
        assert cases == list(at_random(seed=7, kills=12))
    first, second = _tallied(cases), _tallied(cases)
    assert first.breaches == []
    assert first.digest == second.digest


def test_another_seed_is_another_history() -> None:
    with silence():
        assert list(at_random(seed=7, kills=12)) != list(at_random(seed=8, kills=12))


def test_a_history_that_falls_over_is_a_breach() -> None:
    told = tell(Case("no such scenario", scenario="none"))
    assert [breach.promise for breach in told.breaches] == ["I5"]
