"""What this program is made of: its main Python libraries. The executable's recipe packs their metadata for this list."""

from __future__ import annotations

from importlib import metadata

LIBRARIES = (
    "litestar",
    "uvicorn",
    "Jinja2",
    "msgspec",
    "SQLAlchemy",
    "alembic",
    "aiosqlite",
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


def installed() -> list[tuple[str, str, str]]:
    """The libraries with version and licence, as far as their metadata is there."""
    found = []
    for name in LIBRARIES:
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        named = about.get_all("License-Expression") or about.get_all("License") or [_classified(about)]
        found.append((name, about["Version"], (named[0] or "see its metadata").splitlines()[0][:60]))
    return found


def _classified(about: metadata.PackageMetadata) -> str:
    classifiers = about.get_all("Classifier") or []
    licences = [entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License :: ")]
    return ", ".join(licences)
