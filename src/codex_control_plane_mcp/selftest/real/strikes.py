"""When to kill what: a schedule that follows from the seed, and the hand that carries it out."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import anyio.to_thread

from codex_control_plane_mcp.processes import Identity, is_alive
from codex_control_plane_mcp.selftest.real.client import Client
from codex_control_plane_mcp.selftest.real.fleet import Fleet, Happening
from codex_control_plane_mcp.selftest.real.stage import Role, Stage, until

#: For what shall be killed to be there, and for work to go on after a kill: a fraction of a second
#: on an idle machine. After the longest of these the run goes on, and the end will tell.
RECOVERY_SECONDS = 60.0
#: For the moment that a kill is to follow. Then it strikes all the same.
MOMENT_SECONDS = 1.5
LOOK_SECONDS = 0.002

TARGETS: dict[tuple[Role, ...], int] = {
    (Role.PIPE,): 28,
    (Role.WORKER,): 22,
    (Role.APP_SERVER,): 26,
    (Role.PIPE, Role.WORKER): 6,
    (Role.PIPE, Role.APP_SERVER): 5,
    (Role.WORKER, Role.APP_SERVER): 7,
    (Role.PIPE, Role.WORKER, Role.APP_SERVER): 6,
}


@dataclass(frozen=True, slots=True)
class Moment:
    name: str
    #: The kill follows it within this time.
    within_seconds: float


MOMENTS: dict[Moment, int] = {
    **{Moment(one.value, 0.02): 2 for one in Happening},
    Moment("asked", 0.01): 3,
    Moment("played", 0.03): 3,
    Moment("some time", 0.4): 3,
    # Before what the last kill took is back: a worker or an app-server dies while it starts.
    Moment("at once", 0.9): 10,
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill of the schedule."""

    number: int
    roles: tuple[Role, ...]
    moment: Moment
    after_seconds: float
    #: Which of the pipes.
    pipe: int

    @property
    def target(self) -> str:
        return " + ".join(self.roles)


def schedule(seed: int, kills: int) -> list[Strike]:
    """The same seed gives the same kills."""
    dice = random.Random(f"kills {seed}")  # noqa: S311  # a seed is the point
    strikes = []
    for number in range(1, kills + 1):
        roles = dice.choices(list(TARGETS), list(TARGETS.values()))[0]
        moment = dice.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        after = dice.uniform(0.0, moment.within_seconds)
        strikes.append(Strike(number, roles, moment, after, dice.randrange(1_000)))
    return strikes


class Striker:
    """Carries out a schedule."""

    def __init__(self, stage: Stage, fleet: Fleet, clients: list[Client]) -> None:
        self._stage = stage
        self._fleet = fleet
        self._clients = clients
        self.by_target: Counter[str] = Counter()
        self.by_moment: Counter[str] = Counter()
        #: Strikes after which nothing went on in time.
        self.slow: list[str] = []

    async def strike_all(self, strikes: list[Strike], on_progress: Callable[[int], None]) -> None:
        for strike in strikes:
            if strike.number > 1 and strike.moment.name != "at once":
                await self._recovered(strike.number - 1)
            await self._strike(strike)
            on_progress(strike.number)
        if strikes:
            await self._recovered(len(strikes))

    async def _strike(self, strike: Strike) -> None:
        aim = await self._aimed(strike)
        with anyio.move_on_after(MOMENT_SECONDS):
            await self._await(strike.moment)
        await anyio.sleep(strike.after_seconds)
        while aim and not self._killed(aim):
            # It died or was replaced while we waited for the moment.
            aim = await self._aimed(strike)
        if not aim:
            self.slow.append(f"kill {strike.number}: no {strike.target} came, nothing was killed")
            return
        self.by_target[strike.target] += 1
        self.by_moment[strike.moment.name] += 1

    def _killed(self, aim: list[tuple[Role, Identity]]) -> bool:
        """Kill them one right after the other; all of them, or none if one is gone already."""
        if not all(is_alive(process) for _, process in aim):
            return False
        hit = [self._stage.kill(role, process) for role, process in aim]
        return any(hit)

    async def _aimed(self, strike: Strike) -> list[tuple[Role, Identity]]:
        """The processes to kill, once they are there; without those that do not come."""
        found: dict[Role, Identity] = {}
        with anyio.move_on_after(RECOVERY_SECONDS):
            while len(found) < len(strike.roles):
                found = await anyio.to_thread.run_sync(self._present, strike)
                await anyio.sleep(LOOK_SECONDS)
        return list(found.items())

    def _present(self, strike: Strike) -> dict[Role, Identity]:
        found: dict[Role, Identity] = dict(
            self._stage.processes(*(role for role in strike.roles if role is not Role.PIPE))
        )
        if Role.PIPE in strike.roles:
            pipe = self._clients[strike.pipe % len(self._clients)].pipe
            if pipe is not None:
                found[Role.PIPE] = pipe
        return found

    # Moments

    async def _await(self, moment: Moment) -> None:
        match moment.name:
            case "asked":
                await self._at_the_model(lambda: len(self._stage.model.requests))
            case "played":
                await self._at_the_model(self._played)
            case "some time" | "at once":
                pass
            case name:
                await self._fleet.bulletin.next(Happening(name))

    def _played(self) -> int:
        return sum(one.outcome != "playing" for one in self._stage.model.requests)

    async def _at_the_model(self, count: Callable[[], int]) -> None:
        before = count()
        await until(lambda: count() != before, LOOK_SECONDS)

    async def _recovered(self, number: int) -> None:
        """Until every client has got an answer, and the model a request: all three are back."""
        answers = [client.answers for client in self._clients]
        asked = len(self._stage.model.requests)
        with anyio.move_on_after(RECOVERY_SECONDS):
            await until(
                lambda: (
                    len(self._stage.model.requests) > asked
                    and all(
                        one.answers > had for one, had in zip(self._clients, answers, strict=True)
                    )
                ),
                LOOK_SECONDS,
            )
            return
        self.slow.append(f"kill {number}: nothing went on within {RECOVERY_SECONDS:g} s")
