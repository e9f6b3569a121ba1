"""`codex-control-plane-mcp-admin`: what people do at a terminal."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.doors.cli import task_commands
from codex_control_plane_mcp.doors.cli.clients import Name
from codex_control_plane_mcp.doors.cli.options import AsJson, StateDb
from codex_control_plane_mcp.doors.cli.scenarios import Scenario

EXIT_USAGE = 2

HELP = """Durable work with OpenAI Codex, over MCP: what people do at a terminal.

MCP clients start `codex-control-plane-mcp` instead.
"""

app = typer.Typer(
    help=HELP,
    epilog=task_commands.EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

task_commands.register(app)


def main() -> None:
    """The console script."""
    from codex_control_plane_mcp.errors import ControlPlaneError
    from codex_control_plane_mcp.paths import PathError

    try:
        app(prog_name="codex-control-plane-mcp-admin")
    except (ControlPlaneError, PathError) as error:
        sys.stderr.write(f"codex-control-plane-mcp-admin: {error}\n")
        sys.exit(EXIT_USAGE)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        sys.stdout.write(f"codex-control-plane-mcp {__version__}\n")
        raise typer.Exit


@app.command()
def demo(
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Ask nothing: accept (with --real: decline)."),
    ] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Use your own Codex login, with a read-only task.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's folder.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON line; the story goes to standard error."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also save what is shown, as an SVG."),
    ] = None,
) -> None:
    """One task there and back, on real Codex, without an account.

    Submits a task over MCP, shows its progress, asks you for an approval, prints the report. It
    uses a folder of its own, and leaves nothing running and nothing behind.

    Exit codes: 0 the task completed and its report is there, 1 it did not, 2 the command is wrong
    or nobody can be asked, 130 interrupted.
    """
    from codex_control_plane_mcp.doors.cli.demo.command import Options, run

    raise typer.Exit(run(Options(yes, real, keep, as_json, picture)))


@app.command()
def stop(
    state_db: StateDb = None,
    worker_only: Annotated[
        bool, typer.Option("--worker-only", help="Leave the app-server and its turns running.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while turns run.")] = False,
    as_json: AsJson = False,
) -> None:
    """End the worker of a state, then its app-server; nothing is killed.

    The tasks stay in the state: the next client starts a worker that goes on with them. While
    turns run nothing is stopped, unless --force or --worker-only says how.

    Exit codes: 0 nothing runs any more (with --worker-only: no worker), 1 something still runs, 2
    the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.stop import Asked, run

    raise typer.Exit(run(state_db, Asked(force, worker_only), as_json=as_json))


@app.command("open")
def open_(
    state_db: StateDb = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the link instead of opening a browser.")
    ] = False,
) -> None:
    """Open the page: what runs, what waits for you, plans, search, usage, health.

    The link works once, for five minutes, on this machine; the session it begins lasts a week.
    The worker is started if none runs.

    Exit codes: 0 opened or printed, 1 no worker or no page can be had, 2 the command or a setting
    is wrong.
    """
    from codex_control_plane_mcp.doors.cli.open_page import run

    raise typer.Exit(run(state_db, only_print=only_print))


@app.command()
def init(
    projects_root: Annotated[
        str,
        typer.Option(metavar="PATH", help="Every folder directly in it becomes a project."),
    ],
    state_db: StateDb = None,
    client: Annotated[
        list[Name] | None,
        typer.Option(
            "--client",
            metavar="NAME",
            help=f"Print what this client reads: {', '.join(Name)}. May be given several times.",
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Tell the clients named, or else those that are here."),
    ] = False,
    hooks: Annotated[
        bool | None,
        typer.Option(
            "--hooks/--no-hooks",
            help="Also install the hooks of the search; at a terminal you are asked.",
        ),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke/--no-smoke", help="Try the server first, without Codex.")
    ] = True,
) -> None:
    """Print what a client's configuration needs, and with --write tell the clients.

    Finds Codex, makes the private folder of the state, and tries the server as a client would
    start it. Clients with a command of their own to add servers are told by it; the JSON files of
    the others are merged, and kept as they were beside it. An entry of ours that is there already
    is replaced.

    Only what can be pasted goes to standard output.

    Exit codes: 0 done, 1 the folder cannot be made, the server does not answer or a client was not
    told, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.init import Asked, run

    asked = Asked(state_db, projects_root, client or (), write, hooks, smoke)
    raise typer.Exit(run(asked))


@app.command()
def smoke(
    scenario: Annotated[
        Scenario, typer.Option(help="How much is tried; all but `protocol` need Codex.")
    ] = Scenario.PROTOCOL,
    cwd: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Where its tasks work; default: the first allowed folder."
        ),
    ] = None,
    safe_restart: Annotated[
        bool,
        typer.Option("--safe-restart", help="Also restart worker and app-server, without force."),
    ] = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Try this installation as a client uses it, over MCP.

    `protocol` asks for tools, errors and health, and starts no Codex. `safe-operation` also runs
    one small task on it; `full` goes on in its thread, has a plan made and carried out, ends a turn
    and searches. Tasks may only read, and say that they are a test; their threads are archived.

    Exit codes: 0 all is as it should be, 1 it is not, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.smoke import Asked, run

    raise typer.Exit(run(Asked(scenario, cwd, safe_restart, state_db), as_json=as_json))


@app.command("print-config")
def print_config(as_json: AsJson = False) -> None:
    """Show each setting, its value and where it comes from.

    Exit codes: 0 shown, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.print_config import run

    raise typer.Exit(run(as_json=as_json))


@app.command()
def prune(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Remove entries older than this: 12h, 30d, 8w."),
    ] = None,
    keep_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Keep so much, the newest: 500k, 200M, 1G."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Remove old progress entries of tasks that have ended.

    Tasks, reports, ends and ids are kept, and a task says which of its entries are gone. May be
    run while the worker works.

    Exit codes: 0 done, 2 the command or a setting is wrong, or the state cannot be written.
    """
    from codex_control_plane_mcp.doors.cli.prune import Asked, run

    raise typer.Exit(run(state_db, Asked(older_than, keep_size, dry_run), as_json=as_json))


@app.command("import-state")
def import_state(
    former: Annotated[
        Path, typer.Argument(metavar="PATH", help="The state of version 0.2.1; only read.")
    ],
    with_unfinished: Annotated[
        bool,
        typer.Option(
            "--with-unfinished",
            help="Also tasks that had not ended; nothing of 0.2.1 may run any more.",
        ),
    ] = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Bring the history of version 0.2.1 into the state: tasks, reports, workflows, hooks.

    Ids and client_request_ids stay what they were. To run it again brings only what is new. A
    task that had not ended comes with --with-unfinished, as one of which nobody knows how it
    ended: it is not run again.

    Exit codes: 0 done, 2 the command or a setting is wrong, or the state cannot be written.
    """
    from codex_control_plane_mcp.doors.cli.import_state import run

    raise typer.Exit(run(state_db, former, with_unfinished=with_unfinished, as_json=as_json))


@app.command("move-to-postgres")
def move_to_postgres(state_db: StateDb = None, as_json: AsJson = False) -> None:
    """Copy the state of this machine into the empty database of CODEX_MCP_DATABASE_URL.

    Every row is compared by hash; it is all there, or nothing is. Refused while a worker has the
    state. Turns that run go on, and are this host's in the fleet.

    Exit codes: 0 moved, 2 the command or a setting is wrong, or the target is not empty, 7 a worker
    has the state, 8 the state or the database cannot be read or written.
    """
    from codex_control_plane_mcp.doors.cli.move import run

    raise typer.Exit(run(state_db, as_json=as_json))


@app.command()
def migrate(state_db: StateDb = None, as_json: AsJson = False) -> None:
    """Bring the tables of the state to this release, and say who can use them.

    A worker does so when it starts. Only where its role of PostgreSQL may not change tables is it
    done by this, with the role that owns them in CODEX_MCP_DATABASE_URL. Refused while a worker is
    there that could not go on.

    Exit codes: 0 done, or nothing was to be done, 2 the command or a setting is wrong, 7 a worker
    has the state, 8 the state cannot be read or written, or an older release is at work on it.
    """
    from codex_control_plane_mcp.doors.cli.migrate import run

    raise typer.Exit(run(state_db, as_json=as_json))


@app.command()
def backup(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The copy: a file that does not exist.")
    ],
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Copy the state to a file, also while the worker works.

    The copy is of one moment, and is checked before it gets its name. It holds tasks, reports,
    plans, questions and answers; not Codex's own chats, which are in CODEX_HOME, nor worktrees.

    To restore: run `stop`, remove the state file with those that end in -wal, -shm and .search, and
    put the copy in its place. Tasks that had not ended when the copy was made are gone on with;
    one that was queued then is sent to Codex, even if it has run since.

    Exit codes: 0 copied, 1 no copy was made, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.backup import run

    raise typer.Exit(run(state_db, path, as_json=as_json))


notices = typer.Typer(
    help="What a person is told without asking: of questions, plans, and ends.\n\n"
    "Without a command it lists them. Nobody is told anything before a receiver is set: "
    "CODEX_MCP_NOTICES_WEBHOOK_URL, CODEX_MCP_NOTICES_COMMAND, CODEX_MCP_NOTICES_DESKTOP.\n\n"
    "Exit codes: 0 done, 1 not sent, 2 the command or a setting is wrong.",
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.add_typer(notices, name="notices")


@notices.callback(invoke_without_command=True)
def _notices(context: typer.Context, state_db: StateDb = None, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_notices(state_db=state_db, as_json=as_json)


@notices.command("list")
def list_notices(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 50,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest: first those given up, then those that wait.

    Exit codes: 0 shown, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.notices import show

    raise typer.Exit(show(state_db, limit, as_json=as_json))


@notices.command()
def replay(
    notice_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Of the notice, as `list` shows it.")
    ] = None,
    all_dead: Annotated[
        bool, typer.Option("--all-dead", help="All that were given up, instead of one.")
    ] = False,
    state_db: StateDb = None,
    as_json: AsJson = False,
) -> None:
    """Have a notice sent once more, under the same id.

    The worker does so within five minutes; where none runs, the next one does.

    Exit codes: 0 it will be sent, 1 there is none to send, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.notices import send_again

    raise typer.Exit(send_again(state_db, notice_id, all_dead=all_dead, as_json=as_json))


@notices.command("test")
def try_receivers(as_json: AsJson = False) -> None:
    """Send a test notice to each receiver that the settings name, from here and now.

    Exit codes: 0 all took it, 1 one did not, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.notices import try_out

    raise typer.Exit(try_out(as_json=as_json))


@app.command()
def selftest(
    chaos: Annotated[
        bool,
        typer.Option("--chaos", help="Also random histories, and the product broken on purpose."),
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed tells the same random histories.")] = 0,
    kills: Annotated[
        int, typer.Option(min=1, help="How many kills with --chaos and with --real.")
    ] = 300,
    real: Annotated[
        bool, typer.Option("--real", help="Also kill the processes around real Codex.")
    ] = False,
    case: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only cases whose names begin so.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the promises to the test: nothing lost, nothing done twice, nothing said that is not so.

    Simulates tasks, kills the worker at every commit and at every word to Codex, and takes its
    database away. Offline, in a folder of its own; your state and your Codex are not touched.

    Exit codes: 0 every promise was kept (and every mutant caught), 1 not so, 2 the command is
    wrong.
    """
    from codex_control_plane_mcp.doors.cli.selftest import Asked, run

    raise typer.Exit(run(Asked(chaos, seed, kills, real, case), as_json=as_json))


if __name__ == "__main__":
    main()
