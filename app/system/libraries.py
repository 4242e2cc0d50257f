"""What this program is made of: the Python packages that it runs, with version and licence, from their own metadata.

The executable carries the metadata of exactly those packages whose modules it contains (`packaging/app.spec`), so that the
same walk tells the truth there too.
"""

from __future__ import annotations

import re
from importlib import metadata

import msgspec

LIBRARIES = (
    "litestar",
    "uvicorn",
    "Jinja2",
    "msgspec",
    "SQLAlchemy",
    "alembic",
    "aiosqlite",
    "greenlet",
    "APScheduler",
    "prometheus-client",
    "httptools",
    "uvloop",
    "websockets",
    "hyperscan",
    "google-re2",
    "phonenumbers",
    "PyYAML",
    "cryptography",
    "argon2-cffi",
)
"""What our own code asks for; a test holds it to pyproject.toml."""
MAX_LICENCE_CHARACTERS = 60
USUAL_WORDS = {"MIT License": "MIT"}
"""One word for the same licence, where its own words leave no doubt."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """One installed package."""

    name: str
    version: str
    summary: str
    licence: str
    """In the package's own words, shortened to a line."""
    expression: str
    """The licence as an SPDX expression; empty where the package gives none."""
    requires: tuple[str, ...]
    """The canonical names of what it needs and what is there."""

    @property
    def key(self) -> str:
        """The name in its canonical spelling."""
        return canonical(self.name)


def canonical(name: str) -> str:
    """The spelling under which two names of packages are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


DIRECT = frozenset(map(canonical, LIBRARIES))


def installed() -> list[Library]:
    """The packages that our code asks for, and what they need in turn, by name; those that are not there are left out."""
    found: dict[str, Library] = {}
    wanted = [canonical(name) for name in LIBRARIES]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        needed = [canonical(needed) for needed in _needed(distribution.requires or [])]
        found[name] = _library(distribution, tuple(sorted(set(needed))))
        wanted += needed
    kept = [
        msgspec.structs.replace(one, requires=tuple(name for name in one.requires if name in found))
        for one in found.values()
    ]
    return sorted(kept, key=lambda one: one.key)


def _needed(requirements: list[str]) -> list[str]:
    """The names in the requirements of a package, without those of its extras. Where one depends on the platform or the
    version of Python, its being there says that the condition holds."""
    names = []
    for requirement in requirements:
        what, _, condition = requirement.partition(";")
        if "extra" not in condition and (name := _NAME.match(what.strip())):
            names.append(name[0])
    return names


def _library(distribution: metadata.Distribution, requires: tuple[str, ...]) -> Library:
    about = distribution.metadata
    expression = (about.get_all("License-Expression") or [""])[0]
    licence = expression or (about.get_all("License") or [""])[0] or _classified(about) or "see its metadata"
    return Library(
        name=about["Name"],
        version=about["Version"],
        summary=(about.get_all("Summary") or [""])[0],
        licence=USUAL_WORDS.get(licence, licence.strip().splitlines()[0][:MAX_LICENCE_CHARACTERS]),
        expression=expression,
        requires=requires,
    )


def _classified(about: metadata.PackageMetadata) -> str:
    classifiers = about.get_all("Classifier") or []
    licences = [entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License :: ")]
    return ", ".join(licences)
