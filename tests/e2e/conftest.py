"""The stage of the end-to-end tests."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.stage import Client, Stage, stage_of


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Own folders, the scripted model, the usual settings."""
    async with stage_of() as stage:
        yield stage


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[Client]:
    """An MCP client, connected; its pipe has started the worker."""
    async with stage.client() as client:
        yield client
