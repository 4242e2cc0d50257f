"""Build the executable: `build.py [--if-needed] onefile|onedir ...` → dist/ostiary, dist/ostiary-onedir/ostiary."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import compiled

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = {"onefile": ROOT / "dist" / "ostiary", "onedir": ROOT / "dist" / "ostiary-onedir" / "ostiary"}
SOURCES = ("app", "proxies", "rules", "web", "migrations", "packaging", "requirements-build.lock")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--if-needed", action="store_true", help="do nothing where the artefact is newer than its sources"
    )
    parser.add_argument("bundles", nargs="+", choices=sorted(ARTEFACTS))
    arguments = parser.parse_args()
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        print(
            "PyInstaller needs a Python with a shared libpython (Debian: apt-get install libpython3.11).",
            file=sys.stderr,
        )
        return 1
    for bundle in arguments.bundles:
        if not (arguments.if_needed and is_current(ARTEFACTS[bundle])):
            build(bundle)
    return 0


def is_current(artefact: Path) -> bool:
    """Whether the artefact is newer than every source file."""
    if not artefact.exists():
        return False
    built_at = artefact.stat().st_mtime
    files = [
        path for name in SOURCES for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
    ]
    return all(path.stat().st_mtime <= built_at for path in files if path.is_file() and path.suffix != ".pyc")


def build(bundle: str) -> None:
    """Run PyInstaller with a fixed hash seed, so that the same sources give the same archive order."""
    environment = {**os.environ, "BUNDLE": bundle, "PYTHONHASHSEED": "1"}
    try:
        environment["COMPILED"] = str(compiled.libraries())
    except compiled.NoCompiler as error:
        print(f"{error}. The executable will interpret its hot path, which takes more CPU.", file=sys.stderr)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += ["--distpath", str(ROOT / "dist"), "--workpath", str(ROOT / "build" / bundle), "packaging/app.spec"]
    print(f"Building {ARTEFACTS[bundle].relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
