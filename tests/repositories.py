"""Real git repositories for tests."""

import subprocess
from pathlib import Path


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make_repository(folder: Path, *, commit: bool = True) -> Path:
    """A repository with one file in a folder within, committed."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.email", "ann@example.com")
    git(folder, "config", "user.name", "Ann")
    if commit:
        (folder / "src").mkdir()
        (folder / "src" / "till.txt").write_text("one\n")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message=The till")
    return folder
