"""A queue of jobs in memory: what the store does in SQL, said in a few lines of Python."""

from collections.abc import Callable, Iterable, Sequence

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.schedule import Decision, Heads, Job, Limits, Passed, decide


def heads_of(queued: Iterable[Job]) -> Heads:
    """The heads of the lines of these jobs."""
    ordered = sorted(queued, key=lambda job: (job.due_at, job.id))

    def heads(passed: Passed) -> list[Job]:
        firsts: dict[str, Job] = {}
        for job in ordered:
            if not is_passed(job, passed):
                firsts.setdefault(job.agent, job)
        return list(firsts.values())

    return heads


def is_passed(job: Job, passed: Passed) -> bool:
    return (
        job.id in passed.chosen
        or job.project_id in passed.projects
        or job.agent in passed.agents
        or job.thread_id in passed.threads
        or (job.sandbox is not Sandbox.READ_ONLY and job.project_id in passed.written_projects)
        or (job.project_id, job.resource_keys) in passed.keys
        or (job.host is None and job.labels in passed.labels)
        or (
            job.host is None
            and job.created_at > passed.left_since
            and (job.project_id, job.labels) in passed.left
        )
    )


def decided(
    queued: Sequence[Job], active: Sequence[Job], limits: Limits, now: Moment
) -> tuple[Decision, dict[str, str]]:
    """What is decided, and why the others wait."""
    decision = decide(heads_of(queued), active, limits, now)
    reasons = {job.id: decision.reason(job) for job in queued}
    assert all(reasons[id_] is None for id_ in decision.start)
    return decision, {id_: reason for id_, reason in reasons.items() if reason is not None}


#: A job takes one slot of each of these; the words are those of the reason that names it.
SLOTS: dict[str, Callable[[Job], str | None]] = {
    "all turn slots are taken": lambda job: "",
    "the project's turn slots are taken": lambda job: job.project_id,
    "the agent's turn slots are taken": lambda job: job.agent or None,
    "another turn runs in this thread": lambda job: job.thread_id,
    "another writing turn runs in this project": lambda job: (
        None if job.sandbox is Sandbox.READ_ONLY else job.project_id
    ),
}


def how_many(limits: Limits) -> dict[str, int]:
    return dict(
        zip(
            SLOTS,
            [
                limits.everywhere,
                limits.per_project,
                limits.per_agent,
                1,
                limits.writing_per_project,
            ],
            strict=True,
        )
    )
