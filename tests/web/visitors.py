"""A browser without a screen: keeps its cookie, reads pages, sends their forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from tests.desk.reception import Reception
from tests.web.site import Served, served

TIMEOUT = httpx2.Timeout(20)


@dataclass
class Visitor:
    http: httpx2.AsyncClient
    site: Served
    token: str = ""

    @property
    def origin(self) -> str:
        return self.site.base[: self.site.base.index("/", len("http://"))]

    async def get(self, path: str = "", **headers: str) -> httpx2.Response:
        return await self.http.get(self.site.base + path, headers=headers)

    async def enter(self) -> httpx2.Response:
        answer = await self.http.get(await self.site.link())
        keys = self.site.door._keys
        assert keys is not None
        session = keys.session(self.http.cookies[keys.cookie])
        assert session is not None
        self.token = keys.form_token(session)  # as it stands in each form
        return answer

    async def send(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> httpx2.Response:
        """As the page's script does it, but for what a test says."""
        form = {"token": self.token} if fields is None else fields
        given = {"Origin": self.origin, "Accept": "application/json", **(headers or {})}
        return await self.http.post(
            self.site.base + path, data={**form, **more}, headers=given, follow_redirects=False
        )


@asynccontextmanager
async def visiting(at: Reception, *, enters: bool = True) -> AsyncIterator[Visitor]:
    async with served(at) as site, httpx2.AsyncClient(timeout=TIMEOUT) as http:
        visitor = Visitor(http, site)
        if enters:
            await visitor.enter()
        yield visitor
