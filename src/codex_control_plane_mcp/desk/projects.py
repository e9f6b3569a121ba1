"""Projects: which folders there are, which are allowed, and which one a caller means.

Only the disk and the settings are asked here; what Codex and the book know is handed in. Functions
that look at the disk block, so the desk runs them in a thread.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.errors import InvalidArgument, ProjectNotFound
from codex_control_plane_mcp.model.ids import HostId, OperationId, ProjectId
from codex_control_plane_mcp.model.policy import is_within
from codex_control_plane_mcp.settings import Settings

#: A path longer than this cannot be meant on any system.
MAX_PATH_CHARS = 4096

NO_ROOTS = (
    "no folder is allowed yet: set CODEX_PROJECTS_ROOT or CODEX_ALLOWED_ROOTS to the folders that "
    "Codex may work in, and restart"
)


@dataclass(frozen=True, slots=True)
class Project:
    id: ProjectId
    name: str
    path: Path
    source: str
    last_activity_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task works: a folder, and the project that it counts to."""

    cwd: str
    project_id: ProjectId
    #: The host that has the folder, where that is another one: its disk is not ours to look at.
    elsewhere: HostId | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """A folder that an operation worked in."""

    cwd: str
    at: Moment


def place(
    settings: Settings, touched: Iterable[Touched], *, project: str | None, cwd: str | None
) -> Place:
    """The place that a caller names by project (id, path or exact name), by cwd, or by both.

    Raises InvalidArgument or ProjectNotFound.
    """
    if not settings.roots:
        raise InvalidArgument(NO_ROOTS, setting="CODEX_ALLOWED_ROOTS")
    folder = None if cwd is None else allowed_folder(settings, "cwd", cwd)
    if project is None:
        if folder is None:
            raise InvalidArgument("say where to work: project_id or cwd is needed", field="cwd")
        return Place(str(folder), project_at(settings, folder).id)
    found = _named(settings, touched, plain("project_id", project, MAX_PATH_CHARS))
    if folder is None:
        return Place(str(allowed_folder(settings, "project_id", str(found.path))), found.id)
    if not is_within(folder, [found.path]):
        raise InvalidArgument(
            f"cwd is not within the project {found.name}; leave one of them out", field="cwd"
        )
    return Place(str(folder), found.id)


def only_folder(settings: Settings) -> Path | None:
    """The folder that a caller means who names none: the only root that is allowed, or the only
    project of the projects' root. None where there are several, or none."""
    match settings.allowed_roots, settings.projects_root:
        case (root,), None:
            return root
        case (), Path():
            projects = list(_below_roots(settings))
            return projects[0].path if len(projects) == 1 else None
        case _:
            return None


def allowed_folder(settings: Settings, name: str, path: str) -> Path:
    """The real path of a folder that Codex may work in.

    Raises InvalidArgument; about a path outside the roots it says nothing else.
    """
    expanded = Path(plain(name, path, MAX_PATH_CHARS)).expanduser()
    if not expanded.is_absolute():
        raise InvalidArgument(f"{name} must be an absolute path", field=name)
    real = Path(os.path.realpath(expanded))
    if not is_within(real, settings.roots):
        raise InvalidArgument(
            f"{name} leads outside the allowed folders; allowed are: "
            + (", ".join(str(root) for root in settings.roots) or "none")
            + " (CODEX_PROJECTS_ROOT, CODEX_ALLOWED_ROOTS)",
            field=name,
        )
    if not real.is_dir():
        raise InvalidArgument(f"{name} is not a folder that exists: {real}", field=name)
    return real


def catalogue(
    settings: Settings, touched: Iterable[Touched], known_to_codex: Iterable[str] = ()
) -> list[Project]:
    """Every project that is known, those last worked in first."""
    found: dict[ProjectId, Project] = {}
    for project in (
        *_registered(settings),
        *_below_roots(settings),
        *(_project(Path(os.path.realpath(path)), "codex") for path in known_to_codex),
    ):
        found.setdefault(project.id, project)
    for touch in touched:
        project = project_at(settings, Path(touch.cwd))
        known = found.setdefault(project.id, replace(project, source="operations"))
        latest = max(touch.at, known.last_activity_at or touch.at)
        found[project.id] = replace(known, last_activity_at=latest)
    return sorted(found.values(), key=lambda p: (-(p.last_activity_at or 0), p.name.casefold()))


def project_at(settings: Settings, folder: Path) -> Project:
    """The project that a folder counts to: a registered one, else the folder directly below a
    root, else the folder itself. The innermost wins."""
    candidates = [
        *(project for project in _registered(settings) if is_within(folder, [project.path])),
        *(_project(below, "root") for below in _folders_below_root(settings, folder)),
    ]
    return max(
        candidates,
        key=lambda project: len(project.path.parts),
        default=_project(folder, "operations"),
    )


def maker_of(settings: Settings, cwd: str) -> OperationId | None:
    """The operation in whose worktree a folder is, if it is in one: the worktree bears its name."""
    folder, worktrees = Path(cwd), settings.worktrees_folder
    if worktrees not in folder.parents:
        return None
    return OperationId(folder.relative_to(worktrees).parts[0])


def project_id(path: Path) -> ProjectId:
    """Stable for as long as the folder keeps its real path."""
    slug = re.sub(r"[^a-z0-9]+", "-", path.name.lower()).strip("-")[:40] or "project"
    digest = hashlib.sha256(os.path.normcase(path).encode("utf-8", "surrogateescape")).hexdigest()
    return ProjectId(f"{slug}-{digest[:8]}")


def _named(settings: Settings, touched: Iterable[Touched], name: str) -> Project:
    if Path(name).expanduser().is_absolute():
        folder = allowed_folder(settings, "project_id", name)
        return _project(folder, "path")
    projects = catalogue(settings, touched)
    if by_id := next((project for project in projects if project.id == name), None):
        return by_id
    match [project for project in projects if project.name == name]:
        case [project]:
            return project
        case []:
            raise ProjectNotFound(
                f"there is no project {name!r}; codex_list_projects shows those there are",
                projectId=name,
            )
        case several:
            raise InvalidArgument(
                f"several projects are called {name!r}; name one by its id: "
                + ", ".join(project.id for project in several),
                field="project_id",
            )


def _project(path: Path, source: str, name: str | None = None) -> Project:
    return Project(project_id(path), name or path.name or str(path), path, source)


def _below_roots(settings: Settings) -> Iterator[Project]:
    """Every folder directly below a root. Hidden ones are left out: they are tools' own."""
    for root in settings.roots:
        try:
            with os.scandir(root) as entries:
                names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
        except OSError:
            continue  # a root that is not there yet has no projects yet
        for name in names:
            yield _project(Path(os.path.realpath(root / name)), "root", name)


def _folders_below_root(settings: Settings, folder: Path) -> Iterator[Path]:
    for root in settings.roots:
        if root in folder.parents:
            yield root / folder.relative_to(root).parts[0]


# --- The registry --------------------------------------------------------------------------------


def _registered(settings: Settings) -> list[Project]:
    """The projects of the registry file: `{"projects": [{"name", "path"}]}`, the list alone, or
    `{name: path}`."""
    path = settings.projects_registry
    if path is None:
        return []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [_entry(name, entry) for name, entry in _entries(listed)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidArgument(
            f"the projects registry {path} cannot be read ({error}): mend the file or unset "
            "CODEX_PROJECTS_REGISTRY",
            setting="CODEX_PROJECTS_REGISTRY",
        ) from error


def _entries(listed: object) -> list[tuple[str | None, object]]:
    match listed:
        case {"projects": list() | dict() as projects}:
            return _entries(projects)
        case list():
            return [(None, entry) for entry in listed]
        case dict():
            return [(str(name), entry) for name, entry in listed.items()]
        case _:
            raise ValueError("it must hold a list of projects")


def _entry(name: str | None, entry: object) -> Project:
    match entry:
        case str():
            path, given = entry, name
        case {"path": str(path), "name": str(given)}:
            pass
        case {"path": str(path)}:
            given = name
        case _:
            raise ValueError("each project needs a path")
    real = Path(os.path.realpath(os.path.expanduser(os.path.expandvars(path))))  # noqa: PTH111
    return _project(real, "registry", given)
