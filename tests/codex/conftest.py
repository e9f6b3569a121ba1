"""A scripted model, a CODEX_HOME, and app-servers of which none is left behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_control_plane_mcp.codex.supervisor import Mode, Supervisor, Transport
from codex_control_plane_mcp.scripted_model.home import write_codex_home
from codex_control_plane_mcp.scripted_model.server import ScriptedModel, serving
from tests.codex.actors import NewSupervisor, end_app_servers_of


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with serving() as model:
        yield model


@pytest.fixture
def codex_home(tmp_path: Path, model: ScriptedModel) -> Path:
    return write_codex_home(tmp_path / "home", model.base_url)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def new_supervisor(codex_home: Path, state_folder: Path) -> AsyncIterator[NewSupervisor]:
    """Makes supervisors of one state folder, and ends what they started."""

    def new(
        mode: Mode = "private", *, transport: Transport = "unix", folder: Path = state_folder
    ) -> Supervisor:
        return Supervisor(codex_home=codex_home, folder=folder, mode=mode, transport=transport)

    yield new
    await end_app_servers_of(codex_home)
