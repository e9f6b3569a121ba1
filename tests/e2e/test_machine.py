"""What is wrong with the machine itself is named right: provoked on it, for the real Codex.

Linux, as root, with Debian's faketime. `make test-machine` runs it.
"""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from codex_control_plane_mcp.codex.binary import find_binary
from codex_control_plane_mcp.processes import terminate
from tests.e2e.stage import Client, Result, ToolError, gone, stage_of

pytestmark = [pytest.mark.machine, pytest.mark.real, pytest.mark.anyio]

OLD_CODEX = "0.133.0"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
DISK_BYTES = 64_000_000


async def cause(client: Client, **scope: str) -> Result:
    analysis = await client.call("codex_analyze_issue", **scope)
    found: Result = analysis["likelyRootCause"]
    assert found is not None, analysis
    return found


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own, of 64 MB, at this place."""
    folder.mkdir(parents=True)
    size = f"size={DISK_BYTES},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "small", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filling, suppress(OSError):
        while True:
            filling.write(bytes(1_000_000))


async def submit_without_end(client: Client, **where: str) -> None:
    # What is free within the book's own pages is used up first.
    for number in range(1000):
        await client.submit(f"say {number}" + "x" * 90_000, **where)


@pytest.fixture(scope="module")
def old_codex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old-codex")
    wanted = f"openai-codex-cli-bin=={OLD_CODEX}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]
    subprocess.run(command, cwd=folder, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder)
    binary = folder / "codex_cli_bin" / "bin" / "codex"
    binary.chmod(0o755)
    return binary


async def test_a_codex_that_is_too_old_is_named_and_not_used(old_codex: Path) -> None:
    async with stage_of(CODEX_BINARY_PATH=str(old_codex)) as stage, stage.client() as client:
        receipt = await client.submit("say hello", cwd=str(stage.project))
        ended = await client.finished(receipt["operationId"])
        assert ended["status"] == "failed"
        found = await cause(client, operation_id=receipt["operationId"])
        assert (found["category"], found["confidence"]) == ("codex_too_old", "high")
        assert OLD_CODEX in found["summary"]
        assert stage.model.requests == ()


async def test_a_full_disk_is_named_and_nothing_is_lost_on_it() -> None:
    async with stage_of() as stage:
        with small_disk(stage.state_db.parent):
            async with stage.client() as client:
                first = await client.submit("say first", cwd=str(stage.project))
                await client.finished(first["operationId"])
                filler = stage.state_db.parent / "filler"
                fill(filler)
                with pytest.raises(ToolError) as refused:
                    await submit_without_end(client, cwd=str(stage.project))
                assert refused.value.code == "CODEX_STATE_BUSY"
                found = await cause(client)
                assert (found["category"], found["confidence"]) == ("disk_full", "high")
                shown = await client.status(first["operationId"])
                assert shown["finalReport"]["text"] == "first"

                filler.unlink()
                again = await client.submit("say well again", cwd=str(stage.project))
                finished = await client.finished(again["operationId"])
                assert finished["finalReport"]["text"] == "well again"
            worker = stage.worker()
            terminate(worker)
            await gone(worker)
            await stage.strike()


async def test_a_clock_that_was_set_back_is_named() -> None:
    assert FAKETIME.exists(), "apt-get install faketime"
    async with stage_of() as stage:
        true_time = dict(stage.environ)
        stage.environ |= {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME": "+3h",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        async with stage.client() as client:
            first = await client.submit("say first", cwd=str(stage.project))
            await client.finished(first["operationId"])
        terminate(worker := stage.worker())
        await gone(worker)
        stage.environ = true_time
        async with stage.client() as client:
            found = await cause(client)
            assert (found["category"], found["confidence"]) == ("clock_skew", "high")
            shown = await client.status(first["operationId"])
            assert shown["finalReport"]["text"] == "first"
            again = await client.submit("say second", cwd=str(stage.project))
            await client.finished(again["operationId"])


async def test_a_codex_that_cannot_have_its_sandbox_is_named_before_a_task_fails(
    tmp_path: Path,
) -> None:
    jailed = tmp_path / "codex"
    nothing_nested = "echo 0 > /proc/sys/user/max_user_namespaces"
    jailed.write_text(
        f'#!/bin/sh\nexec unshare -Ur sh -c \'{nothing_nested}; exec "$0" "$@"\' '
        f'{find_binary()} "$@"\n'
    )
    jailed.chmod(0o755)
    async with stage_of(CODEX_BINARY_PATH=str(jailed)) as stage, stage.client() as client:
        answer = await client.call("codex_get_runtime_capabilities", refresh=True)
        assert answer["runtimeCapabilities"]["sandboxReadiness"] == "unavailable"
        found = await cause(client)
        assert (found["category"], found["confidence"]) == ("sandbox_not_ready", "high")
        ready = await client.call("codex_preflight_project_run", cwd=str(stage.project))
        assert ready["status"] == "not_ready"
        checks = {one["name"]: one for one in ready["checks"]}
        assert "namespace" in checks["sandbox"]["message"]
