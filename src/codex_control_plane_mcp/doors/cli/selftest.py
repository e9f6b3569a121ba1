"""`selftest`: the product's promises, put to the test on this machine, offline."""

import dataclasses
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from codex_control_plane_mcp.doors.cli.terminal import console_on
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.selftest import mutants
from codex_control_plane_mcp.selftest.history import PROMISES
from codex_control_plane_mcp.selftest.mutants import MUTANTS, Verdict
from codex_control_plane_mcp.selftest.run import Tally, silence, tell_all
from codex_control_plane_mcp.selftest.sweep import (
    Case,
    at_random,
    every_cut,
    every_fault,
    every_point,
)

_REAL = "codex_control_plane_mcp.selftest.real"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person wants to be told."""

    chaos: bool = False
    seed: int = 0
    kills: int = 300
    real: bool = False
    #: Only the cases whose names begin so.
    case: str | None = None


@dataclass
class Row:
    """One line of the table."""

    name: str
    histories: int
    deaths: int
    lost: int
    doubled: int
    wrong: int
    seconds: float
    #: The same for the same histories; none where it is real.
    digest: str | None = None
    #: What was broken, in words, each with the name of its case.
    breaches: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """Everything that was found."""

    rows: list[Row] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_success(self) -> bool:
        kept = not any(row.lost or row.doubled or row.wrong or row.breaches for row in self.rows)
        return kept and all(verdict.is_caught for verdict in self.verdicts)


def run(asked: Asked, *, as_json: bool) -> int:
    outcome = look(asked, console_on(sys.stderr))
    if as_json:
        sys.stdout.write(json.dumps(_as_json(outcome)) + "\n")
    else:
        _show(outcome, console_on(sys.stdout))
    return 0 if outcome.is_success else 1


def look(asked: Asked, console: Console) -> Outcome:
    """Raises InvalidArgument when nothing of the kind can be told."""
    outcome = Outcome()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        for name, sweep in _sweeps(asked):
            with silence():
                cases = [case for case in sweep() if case.name.startswith(asked.case or "")]
            if cases:
                outcome.rows.append(_tell(name, cases, bar))
        if asked.case is not None and not outcome.rows:
            raise InvalidArgument(f"no case is called {asked.case!r}", field="case")
        if asked.chaos and asked.case is None:
            task = bar.add_task("mutants", total=len(MUTANTS))
            for verdict in mutants.run():
                outcome.verdicts.append(verdict)
                bar.advance(task)
        if asked.real and asked.case is None:
            _tell_real(asked, outcome, bar)
    return outcome


def _sweeps(asked: Asked) -> list[tuple[str, Callable[[], Iterable[Case]]]]:
    sweeps: list[tuple[str, Callable[[], Iterable[Case]]]] = [
        ("a crash at every point", every_point),
        ("every fault", every_fault),
        ("the database lost", every_cut),
    ]
    if asked.chaos:
        sweeps.append(
            (f"chaos, seed {asked.seed}", lambda: at_random(asked.seed, asked.kills)),
        )
    return sweeps


def _tell(name: str, cases: list[Case], bar: Progress) -> Row:
    began = time.monotonic()
    tally = Tally()
    task = bar.add_task(name, total=len(cases))
    for told in tell_all(cases):
        tally.add(told)
        bar.advance(task)
    return Row(
        name,
        tally.histories,
        tally.deaths,
        tally.lost,
        tally.doubled,
        tally.wrong,
        time.monotonic() - began,
        tally.digest,
        [
            f"{case}: {breach.promise} ({PROMISES[breach.promise]}): {breach.what}"
            for case, breach in tally.breaches
        ],
    )


def _tell_real(asked: Asked, outcome: Outcome, bar: Progress) -> None:
    if importlib.util.find_spec(_REAL) is None:
        raise InvalidArgument("this installation has no test on real Codex", field="real")
    task = bar.add_task("real Codex", total=asked.kills)
    # Its own requirements are met only where somebody asks for it.
    module: Any = importlib.import_module(_REAL)
    # The clients' pipes are killed as well: the event loop would say so each time.
    with silence():
        result = module.run(
            asked.kills,
            asked.seed,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    outcome.rows.append(
        Row(
            "real Codex",
            result.operations,
            result.kills,
            result.lost,
            result.doubled,
            result.wrong,
            result.seconds,
        )
    )
    outcome.notes += result.notes


# --- Showing it ----------------------------------------------------------------------------------


def _show(outcome: Outcome, console: Console) -> None:
    table = Table("", "histories", "deaths", "lost", "doubled", "wrong", "seconds", "digest")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for row in outcome.rows:
        counts = (row.histories, row.deaths, row.lost, row.doubled, row.wrong)
        table.add_row(row.name, *map(str, counts), f"{row.seconds:.0f}", row.digest or "")
    console.print(table)
    for row in outcome.rows:
        for breach in row.breaches:
            console.print(breach, style="red", markup=False)
    if outcome.verdicts:
        console.print(_mutants(outcome.verdicts))
    for note in outcome.notes:
        console.print(note, markup=False)
    if any(row.breaches for row in outcome.rows):
        console.print("Tell one history again alone with --case 'NAME' (and the same --seed).")
    else:
        console.print(_verdict(outcome))


def _mutants(verdicts: list[Verdict]) -> Table:
    broken = {mutant.name: mutant.broken for mutant in MUTANTS}
    table = Table("broken on purpose", "caught by", "in the case")
    for verdict in verdicts:
        table.add_row(broken[verdict.mutant], verdict.caught_by or "NOBODY", verdict.case)
    return table


def _verdict(outcome: Outcome) -> str:
    if not outcome.is_success:
        return "Not every promise was kept, or not every mutant was caught."
    caught = f" All {len(outcome.verdicts)} mutants were caught." if outcome.verdicts else ""
    return f"Every promise was kept.{caught}"


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "success": outcome.is_success,
        "sweeps": [dataclasses.asdict(row) for row in outcome.rows],
        "mutants": [
            {
                "name": verdict.mutant,
                "caught": verdict.is_caught,
                "caughtBy": verdict.caught_by or None,
                "case": verdict.case,
                "what": verdict.what,
            }
            for verdict in outcome.verdicts
        ],
        "notes": outcome.notes,
    }
