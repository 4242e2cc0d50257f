"""Imports the product's modules with their marks and keeps, when the process ends, which of them were set."""

from __future__ import annotations

import atexit
import hashlib
import marshal
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "proxies", "rules")
KEPT_CODE = "code"
"""The directory, beside what the processes leave, with the compiled modules: the first that imports one compiles it."""
LEFT = ".marks"
"""How the name of what a process leaves ends."""

_marks: dict[str, list[int]] = {}


def start(directory: str) -> None:
    """Mark what is imported from now on; what was set is left in this directory."""
    sys.meta_path.insert(0, _Finder(Path(directory)))
    atexit.register(_leave, Path(directory), os.getpid())


def marks_of(path: str, count: int) -> list[int]:
    """The marks of the module in this file; a module calls this when it is loaded."""
    return _marks.setdefault(path, [0] * count)


def _leave(directory: Path, pid: int) -> None:
    if os.getpid() != pid or not _marks:  # A fork leaves nothing, nor does a process that is none of ours.
        return
    content = marshal.dumps({path: bytes(marks) for path, marks in _marks.items()})
    part = directory / f"{pid}.part"
    part.write_bytes(content)
    part.rename(directory / f"{pid}-{os.urandom(4).hex()}{LEFT}")


class _Finder(MetaPathFinder):
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.loader.path.startswith(f"{ROOT}/"):
            spec.loader = _Loader(fullname, spec.loader.path, self._directory / KEPT_CODE)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, kept: Path) -> None:
        super().__init__(name, path)
        self._kept = kept

    def get_code(self, fullname: str) -> CodeType:
        """The marked module's code, as compiled before or now."""
        source = self.get_data(self.path)
        kept = self._kept / hashlib.sha256(source + self.path.encode()).hexdigest()
        try:
            return marshal.loads(kept.read_bytes())
        except FileNotFoundError:
            code = self._compiled(source)
            part = kept.with_suffix(f".{os.getpid()}")
            part.write_bytes(marshal.dumps(code))
            part.rename(kept)
            return code

    def _compiled(self, source: bytes) -> CodeType:
        from marked_source import marked  # Needs much that a process with compiled modules does without.

        return compile(marked(source, self.path)[0], self.path, "exec", dont_inherit=True)
