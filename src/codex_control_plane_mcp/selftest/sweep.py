"""Tells the scenarios again and again, each time with something else going wrong.

A case is named, and the same name is the same history: `selftest --case NAME` tells it alone.
"""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from codex_control_plane_mcp.selftest import virtual_time
from codex_control_plane_mcp.selftest.doom import Doom
from codex_control_plane_mcp.selftest.fake_codex import ANY_METHOD, Fault, View
from codex_control_plane_mcp.selftest.history import Breach, Watch, check, recorded
from codex_control_plane_mcp.selftest.scenario import SCENARIOS
from codex_control_plane_mcp.selftest.world import (
    RESTART_SECONDS,
    Client,
    GaveUp,
    WithIt,
    World,
)
from codex_control_plane_mcp.store.book import opened

#: Memory where the system offers it as a file system: the simulation needs no real disk.
_SHM = Path("/dev/shm")  # noqa: S108  # a private folder is made in it

#: What may go wrong with one call to Codex while the worker lives.
FAULTS = (
    Fault.LOSE_ANSWER,
    Fault.HOLD_ANSWER,
    Fault.TAKE_ITS_TIME,
    Fault.HANG_UP_BEFORE,
    Fault.HANG_UP_AFTER,
    Fault.OVERLOADED,
    Fault.REFUSE,
    Fault.DIE_BEFORE,
    Fault.DIE_AFTER,
)
#: How a turn may show at first to those who look for it.
VIEWS = ((View.NO_ROLLOUT,), (View.NOT_LISTED,), (View.BARE,))
#: So many calls it takes to find out what became of a call, and to go on.
NEXT_CALLS = 5
#: Tells what a scenario is like when nothing goes wrong.
UNDISTURBED = "undisturbed"


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong in one history."""

    name: str
    #: Which one is told.
    scenario: str = "plan"
    #: The points at which the worker dies.
    kills: tuple[int, ...] = ()
    #: What happens to Codex then.
    with_it: WithIt = WithIt.NOTHING
    #: The points at which it stops for so long that another takes its place.
    stops: tuple[int, ...] = ()
    stopped_seconds: float = 0.0
    #: The points at which the line to the database breaks.
    cuts: tuple[int, ...] = ()
    #: So long it is out of reach then.
    outage_seconds: float = 0.0
    #: The how-manieth call of which method meets which fault.
    faults: tuple[tuple[str, int, Fault], ...] = ()
    #: How new turns show at first.
    views: tuple[View, ...] = ()
    #: How often Codex says everything.
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Told:
    """How one history went."""

    case: Case
    breaches: tuple[Breach, ...]
    #: What was passed, in order.
    points: tuple[str, ...] = ()
    #: Every call that reached Codex, in order.
    calls: tuple[str, ...] = ()
    #: The book and the record at the end, with ids replaced by their order: the same for the same
    #: case, each time.
    record: str = ""
    deaths: int = 0


#: Opens an empty database for one history, and says its URL.
FreshDatabase: TypeAlias = Callable[[], AbstractContextManager[str]]


def tell(case: Case, database: FreshDatabase | None = None) -> Told:
    """Live through one history, and check it. Without a database the book is a file."""
    folder = Path(tempfile.mkdtemp(prefix="ccp-selftest-", dir=_SHM if _SHM.is_dir() else None))
    try:
        with nullcontext() if database is None else database() as url:
            return virtual_time.run(_tell, case, folder, url)
    except Exception as error:  # noqa: BLE001  # whatever falls over here is what we look for
        return Told(case, (Breach("I5", f"it fell over: {_deepest(error)!r}"),))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _tell(case: Case, folder: Path, url: str | None) -> Told:
    watch = Watch()
    world = World(
        folder,
        Doom(case.kills, case.stops, case.cuts, case.outage_seconds),
        on_commit=lambda book: watch.look(book, book.generation),
        with_it=case.with_it,
        stopped_seconds=case.stopped_seconds,
        url=url,
    )
    world.codex.repeats = case.repeats
    world.codex.views = case.views
    for method, number, fault in case.faults:
        world.codex.will_at(method, number, fault)
    clients: list[Client] = []

    async def client(one: Client) -> None:
        clients.append(one)
        await SCENARIOS[case.scenario](one)

    breaches: list[Breach] = []
    try:
        await world.run(client)
    except* GaveUp as gave_up:
        breaches.append(Breach("I5", str(gave_up.exceptions[0])))
    with opened(world.book, threads=False) as book:
        breaches += watch.breaches + clients[0].complaints
        breaches += check(book, world.codex, clients[0].acknowledged)
        record = recorded(book, world.codex)
    return Told(
        case,
        tuple(breaches),
        tuple(world.doom.names),
        tuple(method for method, _ in world.codex.calls),
        record,
        world.deaths,
    )


def _deepest(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# --- The sweeps ----------------------------------------------------------------------------------


def every_point(*scenarios: str) -> Iterator[Case]:
    """A death of the worker at each point of the undisturbed history: alone, together with Codex,
    and with another app-server in Codex's place."""
    for scenario in scenarios or SCENARIOS:
        points = _undisturbed(scenario).points
        yield Case(f"{scenario}: {UNDISTURBED}", scenario)
        for with_it, how in _HOW.items():
            for number, name in enumerate(points, 1):
                # Where Codex changes too, each state of the world once: before the next point it is
                # what it was after the last one.
                if with_it is WithIt.NOTHING or name.startswith("after "):
                    case = f"{scenario}: {how} {name} (point {number})"
                    yield Case(case, scenario, kills=(number,), with_it=with_it)


_HOW = {
    WithIt.NOTHING: "killed",
    WithIt.CODEX_DIES: "killed with Codex",
    WithIt.ANOTHER_ANSWERS: "another Codex answers, killed",
}


def every_fault(*scenarios: str) -> Iterator[Case]:
    """Each fault at each call, a refusal of what is asked to make it good, everything said twice,
    turns that show late, and workers that sleep while another takes their place."""
    for scenario in scenarios or SCENARIOS:
        undisturbed = _undisturbed(scenario)
        yield Case(f"{scenario}: everything is said twice", scenario, repeats=2)
        yield from _faults(scenario, undisturbed.calls)
        yield from _refused_again(scenario, undisturbed)
        yield from _late_views(scenario, undisturbed.points)
        yield from _sleeps(scenario, undisturbed.points)


def _faults(scenario: str, calls: tuple[str, ...]) -> Iterator[Case]:
    for method, number in _numbered(calls):
        for fault in FAULTS:
            name = f"{scenario}: {fault.name.lower().replace('_', ' ')} at {method} #{number}"
            yield Case(name, scenario, faults=((method, number, fault),))


def _refused_again(scenario: str, undisturbed: Told) -> Iterator[Case]:
    """The line drops or the worker dies right after a call; then one of the next calls is refused:
    those that are made only to make that good."""
    sent = [number for number, name in enumerate(undisturbed.points, 1) if _is_call_sent(name)]
    for done, (method, number) in enumerate(_numbered(undisturbed.calls), 1):
        dropped = Case(
            f"{scenario}: hang up after at {method} #{number}",
            scenario,
            faults=((method, number, Fault.HANG_UP_AFTER),),
        )
        point = sent[done - 1]
        died = Case(f"{scenario}: killed after {method} (point {point})", scenario, kills=(point,))
        for case in (dropped, died):
            for call in range(done + 1, done + 1 + NEXT_CALLS):
                refused = (ANY_METHOD, call, Fault.REFUSE)
                name = f"{case.name}, call {call} refused"
                yield replace(case, name=name, faults=(*case.faults, refused))


def _is_call_sent(point: str) -> bool:
    return point.startswith("after ") and point not in _NO_CALLS


_NO_CALLS = frozenset({"after a commit", "after an answer", "after initialized"})


def _numbered(calls: tuple[str, ...]) -> list[tuple[str, int]]:
    """Each call with the how-manieth of its method it is."""
    seen: Counter[str] = Counter()
    numbered = []
    for method in calls:
        seen[method] += 1
        numbered.append((method, seen[method]))
    return numbered


def _late_views(scenario: str, points: tuple[str, ...]) -> Iterator[Case]:
    for number, name in enumerate(points, 1):
        if name == "after turn/start":
            for views in VIEWS:
                seen = views[0].name.lower().replace("_", " ")
                case = f"{scenario}: turns show as {seen}, killed {name} (point {number})"
                yield Case(case, scenario, kills=(number,), views=views)


def _sleeps(scenario: str, points: tuple[str, ...]) -> Iterator[Case]:
    """Stopped after each commit, but not between a wish and its effect: what such a worker sends to
    Codex when it wakes no fence can hold back. The lock on the state does (see `house`)."""
    for number, (name, following) in enumerate(pairwise(points), 1):
        if name == "after a commit" and following == "before a commit":
            for how, seconds in _SLEEPS.items():
                case = f"{scenario}: {how} {name} (point {number})"
                yield Case(case, scenario, stops=(number,), stopped_seconds=seconds)


#: One wakes while its successor finds its way, the other when all is over.
_SLEEPS = {"stopped": RESTART_SECONDS + 0.02, "stopped for long": 90.0}


def every_cut(*scenarios: str) -> Iterator[Case]:
    """The line to the database breaks before and after each commit of the undisturbed history, for
    a moment and for a minute."""
    for scenario in scenarios or SCENARIOS:
        for number, name in enumerate(_undisturbed(scenario).points, 1):
            if name in _COMMITS:
                for how, seconds in _OUTAGES.items():
                    case = f"{scenario}: {how} {name} (point {number})"
                    yield Case(case, scenario, cuts=(number,), outage_seconds=seconds)


_COMMITS = ("before a commit", "after a commit")
_OUTAGES = {"line cut": 0.0, "line cut for a minute": 60.0}


def at_random(seed: int, kills: int) -> Iterator[Case]:
    """Histories with several deaths, and lines that break, until so many have been died."""
    dice = random.Random(seed)  # noqa: S311  # a seed is the point
    points = {scenario: len(_undisturbed(scenario).points) for scenario in SCENARIOS}
    faults = {scenario: [*_faults(scenario, _undisturbed(scenario).calls)] for scenario in points}
    number = 0
    while kills > 0:
        number += 1
        scenario = dice.choice(list(SCENARIOS))
        deaths = min(kills, dice.randint(1, 5))
        at = tuple(sorted(dice.sample(range(1, 2 * points[scenario]), deaths)))
        broken = dice.choice(faults[scenario]).faults if dice.random() < 0.3 else ()
        with_it = WithIt.CODEX_DIES if dice.random() < 0.2 else WithIt.NOTHING
        cuts = tuple(dice.choices(range(1, 2 * points[scenario]), k=dice.randint(0, 3)))
        name = f"random {seed}.{number}: {scenario}, killed at {', '.join(map(str, at))}"
        yield Case(
            name,
            scenario,
            kills=at,
            with_it=with_it,
            cuts=cuts,
            outage_seconds=dice.choice(tuple(_OUTAGES.values())),
            faults=broken,
        )
        kills -= deaths


@cache
def _undisturbed(scenario: str) -> Told:
    return tell(Case(f"{scenario}: {UNDISTURBED}", scenario))
