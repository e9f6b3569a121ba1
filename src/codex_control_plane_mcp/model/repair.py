"""Repairs: what can be mended on somebody's word, and when the same one is refused.

A repair is planned first, and the plan says exactly what would change. What is applied is that
plan. Pure: who plans, applies and remembers is elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.model.ids import OperationId, RepairId, ThreadId, TurnId, WorkflowId


class Action(StrEnum):
    """What can be mended, by its public name."""

    RECOVER_STALE_OPERATIONS = "recover_stale_operations"
    REFRESH_CATALOG_AND_HISTORY = "refresh_catalog_and_history"
    RECONCILE_WORKFLOW_FROM_THREAD = "reconcile_workflow_from_thread"
    RETRY_WORKFLOW_WITH_RUNTIME_POLICY = "retry_workflow_with_runtime_policy"
    MARK_ORPHANED_AFTER_EXIT = "mark_orphaned_after_exit"
    RESTART_APP_SERVER_IDLE = "restart_app_server_idle"
    FORCE_RESTART_APP_SERVER = "force_restart_app_server"
    EXPIRE_STALE_PENDING_INTERACTIONS = "expire_stale_pending_interactions"
    REBUILD_SEARCH_INDEX = "rebuild_search_index"
    VALIDATE_PATHS_AND_CONFIG = "validate_paths_and_config"
    INTERRUPT_TURN = "interrupt_turn"
    CLEANUP_PROMPT_SUBMISSIONS = "cleanup_prompt_submissions"


#: These cost work that is being done: somebody must say `force`.
NEED_FORCE: Final = frozenset({Action.FORCE_RESTART_APP_SERVER, Action.INTERRUPT_TURN})


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairScope:
    """What is to be mended; the whole where nothing is named."""

    operation_id: OperationId | None = None
    workflow_id: WorkflowId | None = None
    thread_id: ThreadId | None = None
    turn_id: TurnId | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a repair changes."""

    #: What it is: operation, interaction, app_server, search_index, file, ...
    kind: str
    #: Which one.
    name: str
    #: From what to what, in words.
    change: str


class Outcome(StrEnum):
    #: Only planned: a dry run.
    PLANNED = "planned"
    #: The plan was applied.
    APPLIED = "applied"
    #: There was nothing to change.
    NOTHING_TO_DO = "nothing_to_do"
    #: It must not be done now; the result says why.
    REFUSED = "refused"
    #: It went wrong; the result says how far it came.
    FAILED = "failed"
    #: Whoever did it ended meanwhile: it may have been done or not.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairRun:
    """One run of a repair, from the wish to what came of it."""

    id: RepairId
    action: Action
    scope: RepairScope
    dry_run: bool
    force: bool
    made_by: str
    created_at: Moment
    #: The dry run that somebody read and had carried out: what it said is changed, or nothing.
    plan_id: RepairId | None = None
    done_at: Moment | None = None
    outcome: Outcome | None = None
    changes: tuple[Change, ...] = ()
    #: What came of it, what it costs, or why not, in words.
    result: str | None = None


#: A repair that did not help this often within this time will not help the next time either.
MOST_RUNS: Final = 3
WITHIN_SECONDS: Final = 600.0


def goes_round(earlier: Sequence[RepairRun], now: Moment) -> str | None:
    """Why the same repair must not be done once more, given when it was last done, newest first."""
    recent = [one for one in earlier if seconds_between(one.created_at, now) < WITHIN_SECONDS]
    if len(recent) < MOST_RUNS:
        return None
    oldest = recent[MOST_RUNS - 1]
    wait = WITHIN_SECONDS - seconds_between(oldest.created_at, now)
    return (
        f"the same repair was done {len(recent)} times within {WITHIN_SECONDS / 60:.0f} minutes "
        f"and did not help; look for another cause with codex_analyze_issue, or wait {wait:.0f} s"
    )
