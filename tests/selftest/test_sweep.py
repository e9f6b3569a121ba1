"""The promises hold in every history. This is the proof that runs in CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from codex_control_plane_mcp.selftest.run import Tally, silence, tell_all
from codex_control_plane_mcp.selftest.scenario import SCENARIOS
from codex_control_plane_mcp.selftest.sweep import (
    Case,
    FreshDatabase,
    at_random,
    every_cut,
    every_fault,
    every_point,
    tell,
)

if os.name == "posix":
    from tests.postgres import Postgres

#: Of so many histories one is told over PostgreSQL each time. It shares no factor with the number
#: of faults, of ways to die and of outages, so each of them comes up.
EVERY = 17


@pytest.fixture(autouse=True)
def _processes_without_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the same lines in a thousand histories takes most of the time, and shows nothing
    that other tests do not: what the sweep does in this process is measured."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def database(request: pytest.FixtureRequest, book_at: Path | str) -> FreshDatabase | None:
    """Where histories are told."""
    if isinstance(book_at, Path):
        return None
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.book_of_each_process()


def _tallied(cases: list[Case], database: FreshDatabase | None = None) -> Tally:
    tally = Tally()
    for told in tell_all(cases, database=database):
        tally.add(told)
    return tally


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    ("cases", "counted", "some"),
    [
        pytest.param(every_point, "deaths", 50, id="wherever the worker dies"),
        pytest.param(every_fault, "histories", 40, id="whatever Codex does"),
        pytest.param(every_cut, "histories", 60, id="whenever the database is out of reach"),
    ],
)
def test_nothing_is_lost_doubled_or_wrong(
    scenario: str,
    cases: Callable[[str], Iterable[Case]],
    counted: str,
    some: int,
    database: FreshDatabase | None,
) -> None:
    tally = _tallied(list(cases(scenario)), database)
    assert tally.breaches == []
    assert getattr(tally, counted) > some


@pytest.mark.over_both
def test_nothing_is_lost_doubled_or_wrong_whatever_comes_together(
    database: FreshDatabase | None,
) -> None:
    with silence():
        cases = list(at_random(seed=2026, kills=120))
    assert {case.scenario for case in cases} == set(SCENARIOS)
    tally = _tallied(cases, database)
    assert tally.breaches == []
    assert tally.deaths > 70


@pytest.mark.usefixtures("where_postgres_runs")
def test_over_postgres_it_is_the_same_history_to_the_letter(postgres_server: Postgres) -> None:
    """A part of the sweeps, for each time; `make test-postgres` has all of them told over it."""
    with silence():
        cases = [*every_point(), *every_fault(), *every_cut()][::EVERY]
    told = list(tell_all(cases, database=postgres_server.book_of_each_process()))
    assert [breach for one in told for breach in one.breaches] == []
    assert told == list(tell_all(cases))


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
