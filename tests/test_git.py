"""Where a repository comes from, whoever cloned it and how."""

import pytest

from codex_control_plane_mcp.git import same_remote


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/team/till.git",
        "https://git.example/team/till/",
        "https://ann:s3cr3t@git.example:8443/team/till.git?x=1",
        "ssh://git@GIT.example:22/team/till.git",
        "git@git.example:team/till.git",
        "git.example:/team/till",
        "git://git.example/team/till",
    ],
)
def test_a_remote_is_the_same_however_it_is_reached(url: str) -> None:
    assert same_remote(url) == "git.example/team/till"


@pytest.mark.parametrize(
    "url", ["/srv/git/till.git", "../till", "file:///srv/till", "C:\\tills\\till", "", "https://[x"]
)
def test_a_path_is_no_remote_that_another_machine_has(url: str) -> None:
    assert same_remote(url) is None


def test_another_repository_is_another_remote() -> None:
    assert same_remote("https://a.example/till") != same_remote("https://b.example/till")
    assert same_remote("https://a.example/x/till") != same_remote("https://a.example/y/till")
