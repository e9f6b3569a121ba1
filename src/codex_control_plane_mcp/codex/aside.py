"""A word with Codex on the side, in a process of its own that ends with it.

For what needs no running turn, and must not start, reach or wake the app-server that has them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from codex_control_plane_mcp.codex.binary import find_binary
from codex_control_plane_mcp.codex.session import CodexSession, Whereabouts, open_session
from codex_control_plane_mcp.rpc.stdio import running_child


@asynccontextmanager
async def aside(
    codex_home: Path, binary: Path | None, environ: Mapping[str, str]
) -> AsyncIterator[CodexSession]:
    """A session for as long as this lasts. Raises CodexError, and OSError when what is called
    Codex cannot be started."""
    found = find_binary(str(binary) if binary else None, environ)
    env = {**environ, "CODEX_HOME": str(codex_home)}
    async with (
        running_child([str(found), "app-server"], env) as wire,
        open_session(wire, Whereabouts("stdio", None, owned=True)) as session,
    ):
        yield session
