"""Tells the scenario again and again, each time with the worker dying at another point."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.selftest import virtual_time
from codex_control_plane_mcp.selftest.doom import Doom
from codex_control_plane_mcp.selftest.fake_codex import Fault
from codex_control_plane_mcp.selftest.history import Breach, Watch, check, recorded
from codex_control_plane_mcp.selftest.scenario import plan_and_execute
from codex_control_plane_mcp.selftest.world import Client, GaveUp, World
from codex_control_plane_mcp.store.book import opened

#: Memory where the system offers it as a file system: the simulation needs no real disk.
_SHM = Path("/dev/shm")  # noqa: S108  # a private folder is made in it

#: What may go wrong with one call to Codex while the worker lives.
FAULTS = (
    Fault.LOSE_ANSWER,
    Fault.HOLD_ANSWER,
    Fault.HANG_UP_BEFORE,
    Fault.HANG_UP_AFTER,
    Fault.OVERLOADED,
    Fault.DIE_BEFORE,
    Fault.DIE_AFTER,
)


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong in one history."""

    name: str
    #: The points at which the worker dies.
    kills: tuple[int, ...] = ()
    #: The how-manieth call of which method meets which fault.
    fault: tuple[str, int, Fault] | None = None
    #: How often Codex says everything.
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Told:
    """How one history went."""

    case: Case
    breaches: tuple[Breach, ...]
    #: What was passed, in order.
    points: tuple[str, ...]
    #: Every call that reached Codex, in order.
    calls: tuple[str, ...]
    #: The book and the record at the end, with ids replaced by their order: the same for the same
    #: case, each time.
    record: str
    lives: int


def tell(case: Case) -> Told:
    """Live through one history, and check it."""
    folder = Path(tempfile.mkdtemp(prefix="ccp-selftest-", dir=_SHM if _SHM.is_dir() else None))
    try:
        return virtual_time.run(_tell, case, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _tell(case: Case, folder: Path) -> Told:
    watch = Watch()
    world = World(folder, Doom(case.kills), on_commit=watch.look)
    world.codex.repeats = case.repeats
    if case.fault is not None:
        method, number, fault = case.fault
        world.codex.will_at(method, number, fault)
    clients: list[Client] = []

    async def client(one: Client) -> None:
        clients.append(one)
        await plan_and_execute(one)

    breaches: list[Breach] = []
    try:
        await world.run(client)
    except* GaveUp as gave_up:
        breaches.append(Breach("I5", str(gave_up.exceptions[0])))
    with opened(world.state_db, threads=False) as book:
        breaches += watch.breaches + check(book, world.codex, clients[0].acknowledged)
        record = recorded(book, world.codex)
    return Told(
        case,
        tuple(breaches),
        tuple(world.doom.names),
        tuple(method for method, _ in world.codex.calls),
        record,
        world.lives,
    )


def every_point() -> Iterator[Case]:
    """A death at each point of the undisturbed history."""
    for number, name in enumerate(tell(Case("undisturbed")).points, 1):
        yield Case(f"killed {name} ({number})", kills=(number,))


def every_fault() -> Iterator[Case]:
    """Each fault at each call of the undisturbed history, and everything said twice."""
    yield Case("everything is said twice", repeats=2)
    seen: dict[str, int] = {}
    for method in tell(Case("undisturbed")).calls:
        seen[method] = seen.get(method, 0) + 1
        for fault in FAULTS:
            yield Case(
                f"{method} #{seen[method]}: {fault.name.lower()}",
                fault=(method, seen[method], fault),
            )


def at_random(seed: int, kills: int) -> Iterator[Case]:
    """Histories with several deaths, until so many have been died."""
    dice = random.Random(seed)  # noqa: S311  # a seed is the point
    longest = 2 * len(tell(Case("undisturbed")).points)
    faults = [case.fault for case in every_fault()]
    number = 0
    while kills > 0:
        number += 1
        deaths = min(kills, dice.randint(1, 5))
        points = tuple(sorted(dice.sample(range(1, longest), deaths)))
        fault = dice.choice(faults) if dice.random() < 0.3 else None
        yield Case(f"random {seed}.{number}: {points}", kills=points, fault=fault)
        kills -= deaths
