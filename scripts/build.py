"""Builds what is published: the wheel, the sdist, and the bundle for clients that read `.mcpb`.

make dist
"""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BUNDLE: Final = "codex-control-plane-mcp.mcpb"


def main() -> None:
    """The script."""
    dist = ROOT / "dist"
    subprocess.run([sys.executable, "-m", "build", "--outdir", dist, ROOT], check=True)
    bundle(dist / BUNDLE)
    for made in sorted(dist.iterdir()):
        sys.stdout.write(f"dist/{made.name}  {made.stat().st_size:,} bytes\n")


def bundle(file: Path) -> None:
    """A `.mcpb` file is a zip of a folder with its manifest. Ours holds no code but a starter:
    uv installs the package, with the parts that fit the system it is on."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted((ROOT / "mcpb").iterdir()):
            # The same content gives the same file, whenever it is built.
            info = zipfile.ZipInfo(part.name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, part.read_bytes())
        archive.writestr(zipfile.ZipInfo("LICENSE"), (ROOT / "LICENSE").read_bytes())


if __name__ == "__main__":
    main()
