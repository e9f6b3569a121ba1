"""`python -m benchmarks [--only NAME ...] [--quick] [--json FILE] [--picture FILE]`.

Prints one table. Exit code 0 whatever the figures are; another one only when something broke.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import (
    ack,
    connect,
    crowd,
    dispatch,
    former,
    growth,
    guard,
    hook,
    idle,
    load,
    queue,
    scale,
    search,
    status,
    wake,
    wrapper,
)
from benchmarks.figures import Figure, Spread, ratio
from benchmarks.installation import Installation, install
from benchmarks.picture import drawn
from benchmarks.stage import Rounds
from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.codex.binary import find_binary

Benchmark = Callable[[Installation, Rounds], Iterator[Figure]]

BENCHMARKS: Mapping[str, Benchmark] = {
    "connect": connect.measure,
    "ack": ack.measure,
    "guard": guard.measure,
    "queue": queue.measure,
    "status": status.measure,
    "dispatch": dispatch.measure,
    "wake": wake.measure,
    "load": load.measure,
    "crowd": crowd.measure,
    "idle": idle.measure,
    "growth": growth.measure,
    "scale": scale.measure,
    "hook": hook.measure,
    "search": search.measure,
    "former": former.measure,
    "wrapper": wrapper.measure,
}

#: Other servers, as the figures name them.
RIVALS = (former.VERSION, f"{wrapper.PACKAGE} {wrapper.VERSION}")


def main() -> int:
    given = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    header = _header()
    for name, value in header.items():
        console.print(f"[bold]{name:>8}[/]  {value}", highlight=False)
    figures = _measured(given.only or list(BENCHMARKS), Rounds(quick=given.quick))
    console.print(_table(figures))
    if given.json is not None:
        told = {"header": header, "figures": [figure.as_json() for figure in figures]}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.picture is not None:
        given.picture.write_text(drawn(figures, RIVALS, header), encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=list(BENCHMARKS),
        metavar="NAME",
        help=f"may be given several times; one of {', '.join(BENCHMARKS)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw there what stands beside others (SVG)"
    )
    return parser.parse_args()


def _measured(names: list[str], rounds: Rounds) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="codex-bench-venv-") as folder:
        installation = install(Path(folder).resolve() / "venv")
        for name in names:
            sys.stderr.write(f"{name} ...\n")
            figures.extend(BENCHMARKS[name](installation, rounds))
    return figures


def _header() -> dict[str, str]:
    codex = subprocess.run(
        [str(find_binary(None)), "--version"], capture_output=True, text=True, check=True
    )
    memory = psutil.virtual_memory().total / 1e9
    busy = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB; "
        f"{platform.system()} {platform.release()}; load {busy}",
        "python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "codex": codex.stdout.strip(),
        "ours": __version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _table(figures: list[Figure]) -> Table:
    table = Table(
        title="median (lowest - 99th percentile)", title_style="dim", title_justify="left"
    )
    for title in ("what", "ours", "beside it", "aim", "met"):
        table.add_column(title, overflow="fold")
    for figure in figures:
        table.add_row(
            f"{figure.what}\n[dim]{figure.note}[/]" if figure.note else figure.what,
            _shown(figure.ours, figure.unit),
            _beside(figure),
            _aim(figure),
            _met(figure),
        )
    return table


def _shown(sample: Spread, unit: str) -> str:
    middle = f"[bold]{_number(sample.median)}[/] {unit}"
    if sample.low == sample.high:
        return middle
    return f"{middle} ({_number(sample.low)} - {_number(sample.p99)})"


def _beside(figure: Figure) -> str:
    if figure.beside is None:
        return ""
    times = ratio(figure)
    shown = f"{_shown(figure.beside, figure.unit)}\n[dim]{figure.beside_is}"
    return f"{shown}; ours is {times:.2f} x[/]" if times is not None else f"{shown}[/]"


def _aim(figure: Figure) -> str:
    if figure.aim is None:
        return ""
    return f"≤ {figure.aim.words or f'{_number(figure.aim.limit)} {figure.unit}'}"


def _met(figure: Figure) -> str:
    judged = "" if figure.judged is None else f": {_number(figure.judged)}"
    match figure.is_met:
        case None:
            return ""
        case True:
            return f"[green]yes[/]{judged}"
        case False:
            return f"[red]no[/]{judged}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
