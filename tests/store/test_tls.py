"""PostgreSQL over TLS: the server is known by its certificate, or nobody talks to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import trustme

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.store import hosts
from codex_control_plane_mcp.store.book import opened
from codex_control_plane_mcp.store.engine import connect_postgres
from codex_control_plane_mcp.store.presence import present
from tests.hosts import enrolled
from tests.postgres import FAST, Identity, postgres

NAME = "db.example"
OURS = trustme.CA(organization_name="The house")


@dataclass(frozen=True)
class Server:
    port: int
    #: The certificate of whoever signed the server's.
    ca: Path

    def url(self, ca: Path, *, mode: str = "verify-full", name: str = NAME) -> str:
        """By the name in its certificate, which no name server knows."""
        where = f"{name}:{self.port}/postgres?hostaddr=127.0.0.1"
        return f"postgresql://postgres:correct-horse@{where}&sslmode={mode}&sslrootcert={ca}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    issued = OURS.issue_cert(NAME)
    OURS.cert_pem.write_to_path(folder / "ca.pem")
    shown = Identity(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
    try:
        with postgres(FAST, tls=shown) as started:
            yield Server(started.port, folder / "ca.pem")
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error}")


@pytest.mark.anyio
async def test_a_host_is_in_the_fleet_over_tls_alone(server: Server) -> None:
    async def nothing() -> None:
        pass

    url = server.url(server.ca)
    with opened(url, host=HostId("east")) as book, anyio.fail_after(20):
        async with present(url, book, enrolled(book, "east"), nothing):
            assert await book.read(hosts.present) == {"east"}
            with connect_postgres(url) as connection:
                rows = connection.execute(
                    "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                    " WHERE application_name = 'codex-control-plane-mcp'"
                ).fetchall()
    # The writer's, the reader's, the host's own, and the one that asks.
    assert rows == [(True,)] * 4


def test_a_server_that_cannot_be_known_is_left_alone_and_why_is_said(
    server: Server, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA(organization_name="Somebody else").cert_pem.write_to_path(other)
    signed = r"name the file of the authority that signed it, sslrootcert=/path/ca\.pem"
    for url, words in (
        (server.url(other), signed),
        (server.url(other, mode="verify-ca"), signed),
        (server.url(tmp_path / "none.pem"), signed),
        (server.url(server.ca, name="localhost"), "is for another name"),
    ):
        with pytest.raises(StateBusy, match=words) as refused, opened(url):
            pass
        assert "correct-horse" not in str(refused.value)
