"""What a host of a fleet has: folders below its roots, and repositories that others have, too."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from codex_control_plane_mcp.app.fleet import Territory
from codex_control_plane_mcp.desk.projects import project_id
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.model.schedule import Reach
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import hosts
from codex_control_plane_mcp.store.book import opened
from tests.repositories import git, make_repository
from tests.store.actors import Desk, HandClock

pytestmark = pytest.mark.usefixtures("where_postgres_runs")

#: How two people cloned the same repository.
HTTPS, SSH = "https://ann:s3cr3t@Git.Example/tills/till.git", "git@git.example:tills/till"


class Host:
    """One host of the fleet; it holds no lock, so for the others it is not connected."""

    def __init__(self, name: str, root: Path, desk: Desk) -> None:
        self.root, self.desk = root, desk
        root.mkdir()
        settings = Settings(
            state_db=root / "state", codex_home=root / "home", allowed_roots=(root,), host=name
        )
        self.territory = Territory(settings)
        card = hosts.Card(f"mark of {name}", f"/homes/{name}", 4, ("gpu",))
        desk.write(lambda writing: hosts.enrol(writing, card))

    def clone(self, folder: str, origin: str | None) -> Path:
        path = make_repository(self.root / folder)
        if origin is not None:
            git(path, "remote", "add", "origin", origin)
        return path

    def hear(self) -> None:
        self.desk.read(self.territory.search)
        self.desk.write(lambda writing: hosts.hear(writing, "1.0", self.territory.projects))

    def reach(self) -> Reach:
        return self.desk.read(self.territory.reach)


@pytest.fixture
def east(postgres_url: str, tmp_path: Path) -> Iterator[Host]:
    with opened(postgres_url, host=HostId("east")) as book:
        yield Host("east", tmp_path / "east", Desk(book, HandClock(), postgres_url))


@pytest.fixture
def west(postgres_url: str, tmp_path: Path) -> Iterator[Host]:
    with opened(postgres_url, host=HostId("west")) as book:
        yield Host("west", tmp_path / "west", Desk(book, HandClock(), postgres_url))


def test_a_repository_from_the_same_place_is_the_same_project_at_another_path(
    east: Host, west: Host
) -> None:
    theirs, ours = east.clone("till", HTTPS), west.clone("checkouts-till", SSH)
    east.clone("other", "https://git.example/tills/other")
    east.clone("local", str(theirs))
    west.clone("local", str(theirs))
    for host in (east, west, east):
        host.hear()
    asked, own = project_id(theirs), project_id(ours)
    reach = west.reach()
    assert {asked, own} < reach.projects
    assert reach.moved == {asked: (str(theirs), str(ours))}
    assert reach.checkout(asked, str(theirs / "src")) == str(ours / "src")
    # What the one has from the other is no project of its own.
    assert east.reach().moved == {own: (str(ours), str(theirs))}
    found = {one.host: one for one in east.desk.read(hosts.reaches)}
    assert {asked, own} == found[HostId("east")].projects & found[HostId("west")].projects
    assert found[HostId("west")].labels == {"gpu"}
    kept = [one.remote for one in east.desk.read(lambda r: hosts.with_remotes(r, HostId("none")))]
    assert set(kept) == {"git.example/tills/till", "git.example/tills/other"}


def test_a_remote_that_was_changed_is_read_again(east: Host, west: Host) -> None:
    theirs, ours = east.clone("till", HTTPS), west.clone("mine", None)
    east.hear()
    west.hear()
    assert not west.reach().moved
    git(ours, "remote", "add", "origin", SSH)
    west.hear()
    assert project_id(theirs) in west.reach().projects


def test_a_folder_within_a_project_is_had_by_whoever_names_it_by_its_path(east: Host) -> None:
    within = east.clone("till", None) / "src"
    known = east.desk.submission()
    request = replace(known.request, cwd=str(within), project_id=project_id(within))
    east.desk.submit(replace(known, request=request))
    assert project_id(within) in east.reach().projects
