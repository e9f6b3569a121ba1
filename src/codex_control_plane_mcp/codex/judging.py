"""Which versions of Codex may be taken into service: each binary is judged once.

The judgement is kept beside the state, by the binary's path, size and time of change, so that a
second look costs one small file. A binary that cannot be asked is not judged, and asked again.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.codex.binary import Stamp, version
from codex_control_plane_mcp.codex.contract import Fit, Language, Methods, language_of
from codex_control_plane_mcp.paths import replace_file

logger = logging.getLogger(__name__)

FILE_NAME = "codex-versions.json"
#: Judgements kept: the versions that somebody may go back to.
KEPT = 8
#: Changes named in a message; the rest is counted.
NAMED = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    stamp: Stamp
    #: What the binary says of itself.
    version: str | None
    language: Language

    @property
    def fit(self) -> Fit:
        return self.language.fit

    @property
    def refusal(self) -> str | None:
        """Why this Codex is not used, and what to do; `None` when it may be."""
        changes = self.fit.refused
        if not changes:
            return None
        more = f" and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
        return (
            f"Codex {self.version or '(unknown version)'} ({self.stamp.path}) is not taken into"
            f" service, because it differs in what this control plane ({__version__}) relies on:"
            f" {'; '.join(changes[:NAMED])}{more}. Upgrade codex-control-plane-mcp, or use another"
            " version of Codex (CODEX_BINARY_PATH may name one)"
        )


class Judge:
    """Judges binaries; remembers."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._known: dict[Stamp, Judgement] = {}

    def known(self, stamp: Stamp) -> Judgement | None:
        """The judgement, if there is one already."""
        if stamp not in self._known:
            self._known |= _read(self._folder / FILE_NAME)
        return self._known.get(stamp)

    async def judged(self, stamp: Stamp) -> Judgement:
        """Raises AppServerUnavailable when the binary cannot be asked."""
        if (known := self.known(stamp)) is not None:
            return known
        binary = Path(stamp.path)
        language = await language_of(binary, self._environ, self._folder)
        judgement = Judgement(stamp, await version(binary), language)
        for point in judgement.fit.refused:
            logger.warning("Codex %s is refused: %s", judgement.version, point)
        for point in judgement.fit.degraded:
            logger.info("Codex %s does without: %s", judgement.version, point)
        self._known[stamp] = judgement
        _write(self._folder / FILE_NAME, list(self._known.values())[-KEPT:])
        return judgement


def _read(file: Path) -> dict[Stamp, Judgement]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        if raw["judgedBy"] != __version__:
            return {}  # We speak differently now.
        found = [_judgement(one) for one in raw["judgements"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # It is only a memory: judge again.
    return {one.stamp: one for one in found}


def _judgement(raw: dict[str, object]) -> Judgement:
    stamp, language, version_said = raw["stamp"], raw["language"], raw["version"]
    if not isinstance(stamp, dict) or not isinstance(language, dict):
        raise TypeError("not a judgement")
    fit, methods = language["fit"], language["methods"]
    return Judgement(
        Stamp(str(stamp["path"]), int(stamp["size"]), int(stamp["modified_ns"])),
        None if version_said is None else str(version_said),
        Language(
            Fit(tuple(map(str, fit["refused"])), tuple(map(str, fit["degraded"]))),
            methods and Methods(int(methods["count"]), str(methods["hash"])),
        ),
    )


def _write(file: Path, judgements: list[Judgement]) -> None:
    raw = {"judgedBy": __version__, "judgements": [asdict(one) for one in judgements]}
    replace_file(str(file), json.dumps(raw, indent=1).encode())
