"""`open`: get a link to the worker's page, and have a browser open it."""

import os
import sys
import webbrowser

from codex_control_plane_mcp import paths, rendezvous
from codex_control_plane_mcp.rendezvous import WorkerUnavailable


def run(state_db: str | None, *, only_print: bool) -> int:
    environ = dict(os.environ)
    state = paths.canonical(state_db) if state_db else paths.state_db_path(environ)
    try:
        link = rendezvous.page_link(state, environ)
    except WorkerUnavailable as error:
        sys.stderr.write(f"codex-control-plane-mcp-admin: {error}\n")
        return 1
    if only_print or not webbrowser.open(link):
        # Alone on standard output, so that it can be piped.
        sys.stdout.write(f"{link}\n")
    else:
        sys.stdout.write("The page is open in your browser.\n")
    return 0
