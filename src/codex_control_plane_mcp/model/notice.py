"""Notices: what a person is told without having asked. When one is tried again, and given up.

A fact makes one notice at most, and the notice is named after it: whoever gets it twice knows it by
its id.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    InteractionId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
    WorkflowId,
)


class Event(StrEnum):
    """What happened, by its public name."""

    #: Codex waits for somebody.
    INTERACTION_OPENED = "interaction.opened"
    #: There is a plan to decide on.
    PLAN_READY = "plan.ready"
    #: Planning ended without a plan: somebody has to read why.
    PLAN_NEEDS_REVIEW = "plan.needs_review"
    WORKFLOW_ENDED = "workflow.ended"
    #: One of no workflow, or one that does not end its workflow.
    OPERATION_ENDED = "operation.ended"
    #: Nothing did: somebody tries the receiver.
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    id: str
    event: Event
    #: One sentence for a person, without anything that a task said.
    summary: str
    created_at: Moment
    operation_id: OperationId | None = None
    operation_type: str | None = None
    project_id: ProjectId | None = None
    #: Of the operation, or of the interaction.
    status: str | None = None
    thread_id: ThreadId | None = None
    turn_id: TurnId | None = None
    workflow_id: WorkflowId | None = None
    workflow_phase: str | None = None
    interaction_id: InteractionId | None = None
    #: Of the interaction.
    kind: str | None = None
    #: What is asked or was reported, where the settings say so.
    text: str | None = None


FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 30 * 60.0
#: Given up after so long, which spans a weekend, but not before so many attempts: the machine may
#: have been asleep meanwhile.
GIVE_UP_SECONDS: Final = 3 * 86_400
MIN_ATTEMPTS: Final = 10


def pause_seconds(attempts: int, chance: float) -> float:
    """How long to wait after so many attempts in vain: twice as long each time, up to a bound, of
    which `chance` (0 to 1) takes up to a half, so that not all come back in the same moment."""
    longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 30), LONGEST_PAUSE_SECONDS)
    return longest * (1 - chance / 2)


def is_dead(attempts: int, age_seconds: float) -> bool:
    """Whether to give it up after so many attempts in vain."""
    return attempts >= MIN_ATTEMPTS and age_seconds >= GIVE_UP_SECONDS
