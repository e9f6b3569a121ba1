"""What the documents say is so: what is drawn from the code is up to date, links lead somewhere,
commands and JSON can be used, and the Russian README says what the English one says.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import typer.main
from typer.core import TyperGroup

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.metrics import Metrics
from codex_control_plane_mcp.doors.cli import admin, hooks
from codex_control_plane_mcp.doors.cli.clients import CLIENTS, ByCommand, Entry
from codex_control_plane_mcp.doors.mcp.tools import TOOLS
from codex_control_plane_mcp.doors.prometheus import exposition
from codex_control_plane_mcp.model.notice import Event
from scripts import make_docs

ROOT = Path(__file__).parents[2]
#: What people read: not the story of decisions and changes, which may name what is gone.
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "README.ru.md", "SECURITY.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
]
#: The tables of what was once, beside what is now.
OF_THE_PAST = re.compile(
    r"^\| `?(CODEX_MCP_|planning|model|summaries|an approval).*$", re.MULTILINE
)

PROGRAMS: Final[dict[str, TyperGroup]] = {
    "codex-control-plane-mcp-admin": typer.main.get_group(admin.app),
    "codex-control-plane-mcp-hooks": typer.main.get_group(hooks.app),
}


@dataclass(frozen=True)
class Block:
    """A block of code, and where it stands."""

    language: str
    text: str
    place: str


def blocks(file: Path) -> Iterator[Block]:
    found = re.finditer(
        r"^( *)```(\w*)\n(.*?)^ *```$", file.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    for number, one in enumerate(found, 1):
        yield Block(one[2], one[3], f"{file.name}, block {number}")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


documents = pytest.mark.parametrize("file", DOCUMENTS, ids=named)


# --- Drawn from the code -------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(make_docs.documents()))
def test_what_is_drawn_from_the_code_is_up_to_date(name: str) -> None:
    drawn = make_docs.documents()[name]
    assert (ROOT / "docs" / name).read_text("utf-8") == drawn, "run `make docs`"


def test_every_setting_has_a_row_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", text, re.MULTILINE))
    assert set(rows) == {name for name, _ in settings._SETTINGS.values()}
    plain = settings.load({})
    for field, (name, _) in settings._SETTINGS.items():
        match getattr(plain, field):
            case None | () | Path():
                pass
            case str() if name == "CODEX_MCP_HOST":
                assert rows[name] == "the machine's name"
            case bool() as on:
                assert rows[name] == f"`{str(on).lower()}`"
            case tuple() as several:
                assert rows[name] == f"`{','.join(several)}`"
            case float() as seconds:
                assert rows[name] == f"`{seconds:g}`"
            case value:
                assert rows[name] == f"`{value}`"


# --- Links, names, commands, JSON ----------------------------------------------------------------


@documents
def test_links_lead_somewhere(file: Path) -> None:
    text = re.sub(r"```.*?```", "", file.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = file.parent / path if path else file
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
            assert anchor in slugs, target


@documents
def test_tools_and_settings_that_are_named_are_there(file: Path) -> None:
    text = OF_THE_PAST.sub("", file.read_text("utf-8"))
    if file.name == "upgrading.md" or "openclaw" in file.name:
        text = text.replace("CODEX_MCP_EXECUTION_MODE", "")
    tools = {tool.name for tool in TOOLS}
    scraped = exposition(Metrics(worker_started_at=Moment(0)))
    metrics = set(re.findall(r"^# HELP (\S+)", scraped, re.MULTILINE))
    assert set(re.findall(r"`(codex_[a-z_]+)`", text)) - tools - metrics - {"codex_home"} == set()
    variables = {name for name, _ in settings._SETTINGS.values()}
    stated = set(re.findall(r"\bCODEX_MCP_[A-Z_]+[A-Z]\b", text))
    assert stated - variables == set()


def command_lines(file: Path) -> Iterator[str]:
    for block in blocks(file):
        if block.language in ("console", "powershell", "sh"):
            for line in block.text.splitlines():
                yield line.partition("  #")[0].strip().removeprefix(".venv\\Scripts\\")


@documents
def test_commands_can_be_given_as_they_stand(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in command_lines(file):
        program, *arguments = shlex.split(line) if line else [""]
        if program == "make":
            assert arguments[0] in targets, line
        elif program in PROGRAMS:
            group = PROGRAMS[program]
            name, *rest = arguments
            assert name in group.commands, line
            group.commands[name].make_context(name, rest)
        elif program in ("python", "python3") and arguments[0].endswith(".py"):
            assert (ROOT / arguments[0]).is_file(), line


def test_commands_for_clients_are_those_that_init_runs() -> None:
    guides = {line for file in DOCUMENTS for line in command_lines(file)}
    entry = Entry("codex-control-plane-mcp", {"CODEX_PROJECTS_ROOT": "~/projects"})
    for client in CLIENTS.values():
        if isinstance(client, ByCommand) and client.program != "codex":
            assert " ".join([client.program, *client.add(entry)]) in guides


@documents
def test_json_can_be_read_and_settings_can_be_loaded(file: Path, tmp_path: Path) -> None:
    for block in blocks(file):
        if block.language != "json":
            continue
        stored = json.loads(block.text)
        if "projects_root" in stored:
            (tmp_path / "settings.json").write_text(block.text)
            settings.load({"CODEX_CONTROL_PLANE_MCP_CONFIG": str(tmp_path / "settings.json")})
        elif "mcpServers" in stored:
            (server,) = stored["mcpServers"].values()
            settings.load(server["env"])
        elif "event" in stored:
            assert stored["event"] in set(Event)
        else:
            assert "ok" in stored


# --- Two languages -------------------------------------------------------------------------------


def skeleton(text: str) -> dict[str, object]:
    """What two languages have in common."""
    bare = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    uncommented = [re.sub(r" +#.*", "", one) for one in re.findall(r"```.*?```", text, re.DOTALL)]
    return {
        "headings": [len(one) for one in re.findall(r"^(#+) ", bare, re.MULTILINE)],
        "code": uncommented,
        "links": sorted(re.findall(r"\]\((?!README)([^)#\s]+)", bare)),
        "rows": [one.split("|")[1].strip() for one in re.findall(r"^\| `.*", bare, re.MULTILINE)],
        "names": sorted(set(re.findall(r"`([^`\n]+)`", bare))),
        "items": len(re.findall(r"^(?:- |\d+\. )", bare, re.MULTILINE)),
    }


@pytest.mark.parametrize("part", ["headings", "code", "links", "rows", "names", "items"])
def test_the_russian_readme_says_what_the_english_one_says(part: str) -> None:
    english = skeleton((ROOT / "README.md").read_text("utf-8"))
    russian = skeleton((ROOT / "README.ru.md").read_text("utf-8"))
    assert russian[part] == english[part]
