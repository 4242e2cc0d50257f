"""Compile the hot path with mypyc: `compiled.py` → dist/compiled, a copy of this tree where those modules are machine code.

The modules of `hot_path.txt` are ordinary typed Python: the sources run as they are, and compiled they do the same with less
CPU (ADR 14). What is compiled is kept in `.cache/compiled` under the digest of all that it was made of, so that no machine
code outlives a change of its source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "dist" / "compiled"
KEPT = ROOT / ".cache" / "compiled"
PACKAGES = ("proxies", "rules")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", ".cache", "dist", "build", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tools"
)
BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup

proxies = [path for path in sys.argv[1:] if path.startswith("proxies/")]
rules = [path for path in sys.argv[1:] if path.startswith("rules/")]
sys.argv[1:] = ["--quiet", "build_ext", "--inplace", "--parallel", "2"]
setup(
    name="ostiary_hot_path",
    packages=[],
    ext_modules=mypycify(
        [*rules, *proxies],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        separate=[(rules, "ostiary_rules"), (proxies, "ostiary_proxies")],
    ),
)
"""


class NoCompiler(Exception):
    """This machine cannot compile C for this Python."""


def modules() -> list[str]:
    """The paths of the hot modules, relative to the tree."""
    return (ROOT / "packaging" / "hot_path.txt").read_text().split()


def digest() -> str:
    """Of everything that the machine code depends on."""
    state = hashlib.sha256(f"{sys.version} {SUFFIX} mypy {version('mypy')} {BUILD}".encode())
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    for path in [ROOT / "packaging" / "hot_path.txt", *sorted(sources)]:
        state.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()[:32]


def libraries() -> Path:
    """A directory with the compiled modules at their places in the tree; made where it is not kept. Raises NoCompiler."""
    kept = KEPT / digest()
    if not kept.exists():
        _check_compiler()
        print(f"Compiling {len(modules())} modules of the hot path, about a minute ...", file=sys.stderr, flush=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as name:
            work = Path(name)
            for package in PACKAGES:
                shutil.copytree(ROOT / package, work / package, ignore=NOT_COPIED)
            shutil.copy(ROOT / "pyproject.toml", work)
            _compile(work)
            made = work / "made"
            for path in sorted(work.rglob(f"*{SUFFIX}")):
                if "build" not in path.relative_to(work).parts:
                    target = made / path.relative_to(work)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(target)
            made.rename(kept)
    os.utime(kept)
    for old in sorted(KEPT.iterdir(), key=lambda path: path.stat().st_mtime)[:-4]:
        shutil.rmtree(old)
    return kept


def _check_compiler() -> None:
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists() or not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        raise NoCompiler("No C compiler or no Python headers here. Debian and Ubuntu: apt-get install gcc python3-dev")


def _compile(work: Path) -> None:
    # Each file of a group defines what it takes from the other group; the linker may take them for one.
    environment = {**os.environ, "CFLAGS": f"{os.environ.get('CFLAGS', '')} -fcommon"}
    command = [sys.executable, "-c", BUILD, *modules()]
    result = subprocess.run(command, cwd=work, env=environment, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"mypyc could not compile the hot path:\n{result.stdout[-8000:]}{result.stderr[-8000:]}")


def main() -> int:
    """Make `dist/compiled` anew and print its path."""
    try:
        kept = libraries()
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=NOT_COPIED, symlinks=True)
    shutil.copytree(kept, TREE, dirs_exist_ok=True)
    for name in (".venv", ".cache"):
        (TREE / name).symlink_to(ROOT / name)
    print(TREE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
