"""The commands for tasks, as they are typed: names, options and help. Each does its work in a
module of its own, which is imported when it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from codex_control_plane_mcp.doors.cli import exits
from codex_control_plane_mcp.doors.cli.options import AsJson, StateDb
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.repair import Action
from codex_control_plane_mcp.model.request import Priority

Id = Annotated[str, typer.Argument(metavar="ID", help="A task or workflow, or how its id begins.")]
MaybeId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A task or workflow, or how its id begins.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="Leave after so long; it goes on."),
]
Ended = Annotated[
    int, typer.Option("--ended", "-n", min=0, max=500, help="How many that have ended.")
]
Message = Annotated[
    str, typer.Argument(help="What Codex shall do; `-` reads it from standard input.")
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Your name for it: the same again goes on with the same task."),
]
Cwd = Annotated[str | None, typer.Option(metavar="PATH", help="Where it works; default: here.")]
Project = Annotated[
    str | None, typer.Option(help="A project by id, path or name, instead of --cwd.")
]
Thread = Annotated[str | None, typer.Option(help="Go on in this thread.")]
Title = Annotated[str | None, typer.Option()]
Model = Annotated[str | None, typer.Option()]
SandboxOption = Annotated[Sandbox | None, typer.Option("--sandbox", help="What it may write.")]
Approvals = Annotated[
    ApprovalPolicy | None, typer.Option("--approval-policy", help="When it must ask.")
]
Agent = Annotated[str | None, typer.Option(help="On whose behalf; agents take turns.")]
PriorityOption = Annotated[Priority | None, typer.Option("--priority")]
OutputSchema = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A strict JSON schema of the report.")
]
Worktree = Annotated[bool, typer.Option("--worktree", help="In a git worktree of its own.")]
Plan = Annotated[bool, typer.Option("--plan", help="Have a plan made first, to be approved.")]


EXIT_CODES = f"""Exit codes:

\b
{exits.table()}
"""


def register(app: typer.Typer) -> None:
    """Add them to the program."""
    panels: dict[str, tuple[Callable[..., None], ...]] = {
        "Look": (ps, show, watch, logs, pending, hosts, search, metrics),
        "Decide and do": (submit, run, answer, approve, cancel),
        "Keep in order": (doctor, repair, requeue, forget_host),
    }
    for panel, commands in panels.items():
        for command in commands:
            name = command.__name__.replace("_", "-")
            app.command(name, rich_help_panel=panel, epilog=EXIT_CODES)(command)


def ps(ended: Ended = 5, state_db: StateDb = None, as_json: AsJson = False) -> None:
    """List tasks: who wants you, what runs, what waits and why, what ended last.

    Reads the state; starts nothing.
    """
    from codex_control_plane_mcp.doors.cli import ps

    raise typer.Exit(ps.run(state_db, ended, as_json=as_json))


def show(id_: Id, state_db: StateDb = None, as_json: AsJson = False) -> None:
    """Show a task or a workflow: state, progress, questions, plan, report.

    Reads the state; starts nothing.
    """
    from codex_control_plane_mcp.doors.cli import show

    raise typer.Exit(show.run(id_, state_db, as_json=as_json))


def watch(
    id_: MaybeId = None,
    timeout: Timeout = None,
    ended: Ended = 5,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Follow a task or a workflow to its end, or all of them until Ctrl-C.

    Ctrl-C ends the watching, never the task. Leaves with the task's exit code; a workflow whose
    plan waits for a decision needs approval. With --json, one JSON object a line.
    """
    from codex_control_plane_mcp.doors.cli import watch

    raise typer.Exit(watch.run(id_, timeout, ended, state_db, as_json=as_json))


def logs(
    id_: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A task; without one, the worker's own log."),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many of the last; 0: all.")
    ] = 100,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Print what happened in a task, to the letter, or the end of the worker's log."""
    from codex_control_plane_mcp.doors.cli import logs

    raise typer.Exit(logs.run(id_, lines, state_db, as_json=as_json))


def pending(id_: MaybeId = None, state_db: StateDb = None, as_json: AsJson = False) -> None:
    """Show what waits for you: Codex's questions, in full, and plans to decide on.

    Reads the state; starts nothing.
    """
    from codex_control_plane_mcp.doors.cli import pending

    raise typer.Exit(pending.run(id_, state_db, as_json=as_json))


def hosts(as_json: AsJson = False) -> None:
    """List the hosts of a fleet: who is there, what each has in hand, what waits for it alone.

    Reads the state; starts nothing.
    """
    from codex_control_plane_mcp.doors.cli import fleet_hosts

    raise typer.Exit(fleet_hosts.run(as_json=as_json))


def search(
    query: Annotated[str, typer.Argument(help="Words.")],
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    match: Annotated[
        str | None, typer.Option(help="`all` of the words, `any` of them, or as a `phrase`.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=50)] = 20,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Search what was asked, said, planned and reported, here and in Codex."""
    from codex_control_plane_mcp.doors.cli import search

    raise typer.Exit(search.run(query, project, match, limit, state_db, as_json=as_json))


def metrics(state_db: StateDb = None, as_json: AsJson = False) -> None:
    """Print the state in numbers, in Prometheus' text format.

    Reads the state; starts nothing. The worker serves the same at /metrics of its page.
    """
    from codex_control_plane_mcp.doors.cli import metrics

    raise typer.Exit(metrics.run(state_db, as_json=as_json))


def submit(
    message: Message,
    key: Key = None,
    cwd: Cwd = None,
    project: Project = None,
    thread: Thread = None,
    title: Title = None,
    model: Model = None,
    sandbox: SandboxOption = None,
    approval_policy: Approvals = None,
    agent: Agent = None,
    priority: PriorityOption = None,
    output_schema: OutputSchema = None,
    worktree: Worktree = False,
    plan: Plan = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Hand in a task; it is stored when this returns, and runs by itself."""
    from codex_control_plane_mcp.doors.cli import submit

    task = submit.Task(
        message=message,
        key=key,
        cwd=cwd,
        project=project,
        thread=thread,
        title=title,
        model=model,
        sandbox=sandbox,
        approval_policy=approval_policy,
        agent=agent,
        priority=priority,
        output_schema=output_schema,
        worktree=worktree,
        plan=plan,
    )
    raise typer.Exit(submit.submit(task, state_db, as_json=as_json))


def run(
    message: Message,
    key: Key = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or only hand it in.")
    ] = True,
    timeout: Timeout = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing meanwhile.")] = False,
    cwd: Cwd = None,
    project: Project = None,
    thread: Thread = None,
    title: Title = None,
    model: Model = None,
    sandbox: SandboxOption = None,
    approval_policy: Approvals = None,
    agent: Agent = None,
    priority: PriorityOption = None,
    output_schema: OutputSchema = None,
    worktree: Worktree = False,
    plan: Plan = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Hand in a task and follow it to its end: for scripts and CI.

    The report goes to standard output, progress to standard error. With --key the same call again
    goes on with the same task, and never has it done twice. Leaves as soon as a person is needed;
    the task waits for the answer, and the same call again waits on.
    """
    from codex_control_plane_mcp.doors.cli import submit

    task = submit.Task(
        message=message,
        key=key,
        cwd=cwd,
        project=project,
        thread=thread,
        title=title,
        model=model,
        sandbox=sandbox,
        approval_policy=approval_policy,
        agent=agent,
        priority=priority,
        output_schema=output_schema,
        worktree=worktree,
        plan=plan,
    )
    if not wait:
        raise typer.Exit(submit.submit(task, state_db, as_json=as_json))
    waiting = submit.Waiting(timeout, quiet)
    raise typer.Exit(submit.run(task, waiting, state_db, as_json=as_json))


def answer(
    id_: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A question, or a task; or how its id begins."),
    ] = None,
    decision: Annotated[
        str | None, typer.Option(help="One that is on offer, by its name or as JSON.")
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option("--answer", metavar="[QUESTION=]TEXT", help="May be given several times."),
    ] = None,
    content: Annotated[str | None, typer.Option(metavar="JSON", help="A form, filled in.")] = None,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Answer what Codex asks: shows all of it, and asks you where nothing was decided."""
    from codex_control_plane_mcp.doors.cli import answer

    given = answer.Given(decision, answers or (), content)
    raise typer.Exit(answer.run(id_, given, state_db, as_json=as_json))


def approve(
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="A workflow, or how its id begins.")
    ],
    plan_hash: Annotated[
        str | None, typer.Option(help="For scripts: the plan that was read, by its hash.")
    ] = None,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Have a plan carried out: shows it and asks you, unless its hash is given."""
    from codex_control_plane_mcp.doors.cli import approve

    raise typer.Exit(approve.run(workflow, plan_hash, state_db, as_json=as_json))


def cancel(id_: Id, state_db: StateDb = None, as_json: AsJson = False) -> None:
    """End a task or a workflow; what was done stays."""
    from codex_control_plane_mcp.doors.cli import cancel

    raise typer.Exit(cancel.run(id_, state_db, as_json=as_json))


def doctor(state_db: StateDb = None, as_json: AsJson = False) -> None:
    """Say what is wrong here, and how to mend it. Starts nothing but Codex, to ask its version."""
    from codex_control_plane_mcp.doors.cli import doctor

    raise typer.Exit(doctor.run(state_db, as_json=as_json))


def repair(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help=", ".join(Action))],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="ID",
            help="A task or workflow, or how its id begins, or a thread. May be given several "
            "times.",
        ),
    ] = None,
    applies: Annotated[
        bool, typer.Option("--apply", help="Do it; else it is only said what would change.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where it costs work.")] = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Mend what `doctor` found: say what that would change, and with --apply do it.

    It is the worker that mends; it is started if none runs.
    """
    from codex_control_plane_mcp.doors.cli import repair

    asked = repair.Asked(action, scope or (), applies, force)
    raise typer.Exit(repair.run(asked, state_db, as_json=as_json))


def requeue(id_: Id, as_json: AsJson = False) -> None:
    """Give up a task whose host is gone, and have another host do it anew.

    Only of a fleet on PostgreSQL. The former attempt ends for ever; if its host comes back, its
    turn may still go on there, and is no task any more.
    """
    from codex_control_plane_mcp.doors.cli import requeue

    raise typer.Exit(requeue.run(id_, as_json=as_json))


def forget_host(
    host: Annotated[str, typer.Argument(metavar="HOST", help="As `hosts` shows it.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also end what it has in hand and what waits for it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a host that is gone for good off the list of the fleet.

    Refused while it is connected, and without --force while it has tasks in hand or tasks wait for
    it alone. If it comes back after all, it enters the fleet as a new one.
    """
    from codex_control_plane_mcp.doors.cli import fleet_hosts

    raise typer.Exit(fleet_hosts.forget(host, force=force, as_json=as_json))
