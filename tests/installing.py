"""Runs what installs, which takes minutes the first time."""

import subprocess
from pathlib import Path

#: A first install fetches hundreds of megabytes.
INSTALL_SECONDS = 900


def run(*line: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What it says, which has to end well."""
    done = subprocess.run(
        [str(part) for part in line],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
