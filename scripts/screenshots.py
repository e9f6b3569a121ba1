"""Pictures of every page, in both themes and on a narrow screen, of a book that is told for them.

    .venv/bin/python -m scripts.screenshots OUT [NAME ...]

With NAME only pictures whose names begin so. Nothing but loopback is used, and nothing is kept but
the pictures.
"""

import sys
import tempfile
from pathlib import Path

import anyio
from playwright.async_api import Browser, ViewportSize, async_playwright

from codex_control_plane_mcp.settings import DatabaseUrl
from tests.desk.reception import Reception, reception
from tests.hosts import there
from tests.postgres import postgres
from tests.web.site import Served, chromium, served
from tests.web.story import tell, tell_of_a_fleet

WIDE, NARROW = ViewportSize(width=1280, height=1000), ViewportSize(width=390, height=844)


async def main(out: Path, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, reception(Path(folder), threads=True) as at:
        ids = await tell(at)
        pages = {
            "now": "",
            "inbox": "inbox",
            "plans": "plans",
            "plan": f"plans/{ids['plan']}",
            "tasks": "tasks",
            "task": f"tasks/{ids['done']}",
            "running": f"tasks/{ids['running']}",
            "asking": f"tasks/{ids['asking']}",
            "search": "search?q=rounding+tax",
            "usage": "usage",
            "health": "health",
            "diagnosis": f"tasks/{ids['lost']}/diagnosis",
            "repair": f"health/repairs/{ids['repair']}",
            "missing": "no-such-page",
        }
        await shoot_all(at, pages, out, names)
    with tempfile.TemporaryDirectory() as folder, postgres() as server, server.database() as url:
        fleet = {"database_url": DatabaseUrl(url), "host": "atelier"}
        with reception(Path(folder), postgres_url=url, threads=True, **fleet) as at:
            ids = await tell_of_a_fleet(at)
            pages = {
                "fleet-now": "",
                "fleet-tasks": "tasks",
                "fleet-lost": f"tasks/{ids['lost']}",
                "fleet-health": "health",
            }
            with there(url, int(ids["atelier"]), int(ids["studio"])):
                await shoot_all(at, pages, out, names)


async def shoot_all(at: Reception, pages: dict[str, str], out: Path, names: list[str]) -> None:
    async with served(at) as site, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium())
        for theme in ("light", "dark"):
            for shape, size in (("wide", WIDE), ("narrow", NARROW)):
                for name, path in pages.items():
                    file = f"{name}-{theme}-{shape}"
                    if not names or any(file.startswith(one) for one in names):
                        await shoot(browser, site, path, theme, size, out / f"{file}.png")
        await browser.close()


async def shoot(
    browser: Browser, site: Served, path: str, theme: str, size: ViewportSize, file: Path
) -> None:
    context = await browser.new_context(
        viewport=size, color_scheme="dark" if theme == "dark" else "light", locale="en-GB"
    )
    page = await context.new_page()
    await page.goto(await site.link())
    await page.wait_for_selector("#running")
    await page.goto(site.base + path)
    await page.wait_for_selector("[data-connection=live]")
    await page.wait_for_timeout(1300)  # what arrived is no longer shown as new
    await page.screenshot(path=file)
    await context.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    anyio.run(main, folder, sys.argv[2:])
