"""The command that MCP clients start: `codex-control-plane-mcp`.

It only reads its few options by hand: argument parsers cost more to import than the pipe needs to
connect. The work is in `pipe`, or with `--embedded` in `app.embedded`.
"""

from __future__ import annotations

import os
import sys

from codex_control_plane_mcp import __version__, paths

HELP = """\
Usage: codex-control-plane-mcp [--state-db PATH] [--embedded]

An MCP server on stdin and stdout for durable work with OpenAI Codex. It connects to the worker of
its state, starting it if need be. MCP clients start this command; people want
codex-control-plane-mcp-admin.

Options:
  --state-db PATH  the state database (default: CODEX_MCP_STATE_DB, then `state_db` in the
                   settings file, then the per-user state folder)
  --embedded       run everything in this one process, for containers and debugging
  --version        print the version and leave
  --help           print this and leave
"""

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class UsageError(Exception):
    """The command line is wrong; the message says how."""


class Options:
    """What the command line asked for."""

    __slots__ = ("embedded", "show", "state_db")

    def __init__(self) -> None:
        self.embedded = False
        self.state_db: str | None = None
        #: Text to print instead of serving.
        self.show: str | None = None


def main(argv: list[str] | None = None) -> int:
    try:
        options = _parse(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        sys.stderr.write(f"codex-control-plane-mcp: {error}\n\n{HELP}")
        return EXIT_USAGE
    if options.show is not None:
        sys.stdout.write(options.show)
        return 0
    try:
        return _embedded(options) if options.embedded else _pipe(options)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parse(arguments: list[str]) -> Options:
    options = Options()
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == "--state-db":
            options.state_db = value if equals else next(rest, "")
            if not options.state_db:
                raise UsageError("--state-db needs a path")
        elif argument == "--embedded":
            options.embedded = True
        elif argument in ("--help", "-h"):
            options.show = HELP
        elif argument == "--version":
            options.show = f"codex-control-plane-mcp {__version__}\n"
        else:
            raise UsageError(f"unknown argument {argument}")
    return options


def _pipe(options: Options) -> int:
    from codex_control_plane_mcp import pipe

    try:
        if options.state_db is None:
            state_db = paths.state_db_path(os.environ)
        else:
            state_db = paths.canonical(options.state_db)
    except paths.PathError as error:
        # The client shows what a server answers, but seldom what it prints on its way out.
        return pipe.run_without_worker(str(error))
    return pipe.run(state_db, os.environ)


def _embedded(options: Options) -> int:
    from codex_control_plane_mcp.app import embedded

    if options.state_db is not None:
        # The environment is where every reader of the settings looks first.
        os.environ[paths.STATE_DB_VARIABLE] = paths.canonical(options.state_db)
    return embedded.main()


if __name__ == "__main__":
    sys.exit(main())
