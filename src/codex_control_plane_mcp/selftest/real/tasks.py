"""What the operations of a run ask for, and what must come of it: both follow from seed and number.

Every prompt bears a marker that no other one has, so that the model's record says whose turn a
request was.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from codex_control_plane_mcp.scripted_model.script import Plan, Run, Say, Step, Stream, Wait, write
from codex_control_plane_mcp.scripted_model.wire import streamed


class Kind(StrEnum):
    SAY = "say"
    #: Words that take a while, so that a kill lands between two of them.
    STREAM = "stream"
    #: The turn waits in the middle until the fleet lets it go on.
    HOLD = "hold"
    #: A command asks to leave the sandbox, and a client answers.
    APPROVAL = "approval"
    PLAN = "plan"
    #: Held, and steered meanwhile by another operation.
    STEERED = "steered"
    #: Words for a turn that is held.
    STEER = "steer"


#: How often each kind is chosen.
_WEIGHTS = {
    Kind.SAY: 2,
    Kind.STREAM: 4,
    Kind.HOLD: 3,
    Kind.APPROVAL: 4,
    Kind.PLAN: 1,
    Kind.STEERED: 1,
}


@dataclass(frozen=True, slots=True)
class Task:
    """One operation to be submitted."""

    seed: int
    number: int
    kind: Kind
    #: What an approval is answered with.
    accept: bool
    #: Whether it goes on in the thread of the operation before, if that has one.
    goes_on: bool
    #: How long the fleet holds what is held, and thinks about an approval.
    patience_seconds: float

    @property
    def key(self) -> str:
        return f"{self.seed}.{self.number}"

    @property
    def marker(self) -> str:
        return f"[[{self.key}]]"

    @property
    def hold(self) -> str:
        return f"door-{self.number}"

    @property
    def is_held(self) -> bool:
        return self.kind in (Kind.HOLD, Kind.STEERED)

    @property
    def mode(self) -> str:
        return "plan" if self.kind is Kind.PLAN else "default"

    def prompt(self, effects: Path) -> str:
        held = f"hold {self.hold}\n" if self.is_held else ""
        return f"Task {self.marker}\n{held}{write(self._steps(effects))}"

    def effect(self, effects: Path) -> Path:
        """The file that the command of an approval adds a line to."""
        return effects / self.key

    def _steps(self, effects: Path) -> tuple[Step, ...]:
        match self.kind:
            case Kind.STREAM:
                return (Stream(40, 0.01),)
            case Kind.APPROVAL:
                command = f"echo {self.key} >> {self.effect(effects)}"
                return Run(command, f"task {self.key} needs it"), Say(self._said)
            case Kind.PLAN:
                return (Plan(f"# Plan {self.key}\n\n1. Do it once"),)
            case Kind.SAY | Kind.HOLD | Kind.STEERED | Kind.STEER:
                return Wait(0.05), Say(self._said)

    @property
    def _said(self) -> str:
        return f"{self.kind.value} {self.key} is done"

    @property
    def report(self) -> str:
        """What the report of an undisturbed run says; of a steered turn, if nobody steers it."""
        match self.kind:
            case Kind.STREAM:
                return "".join(streamed(40))
            case Kind.PLAN:
                return f"# Plan {self.key}\n\n1. Do it once"
            case Kind.SAY | Kind.HOLD | Kind.STEERED | Kind.STEER | Kind.APPROVAL:
                return self._said


def task_of(seed: int, number: int) -> Task:
    """The task with this number; the first ones are one of each kind."""
    dice = random.Random(f"task {seed} {number}")  # noqa: S311  # a seed is the point
    kinds = list(_WEIGHTS)
    chosen = dice.choices(kinds, list(_WEIGHTS.values()))[0]
    return Task(
        seed,
        number,
        kinds[number - 1] if number <= len(kinds) else chosen,
        accept=dice.random() < 0.7,
        goes_on=dice.random() < 0.4,
        patience_seconds=dice.uniform(0.0, 0.3),
    )


def steer_of(task: Task, number: int) -> Task:
    """The task that steers the turn of another one."""
    return Task(task.seed, number, Kind.STEER, accept=False, goes_on=False, patience_seconds=0.0)


#: So many tasks are one of each kind: run without kills, they show what an undisturbed run gives.
UNDISTURBED = len(_WEIGHTS)
