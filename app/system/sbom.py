"""The software bill of materials: what runs here, as CycloneDX 1.6 JSON."""

from __future__ import annotations

import platform
import re
import sqlite3
import ssl
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from app.system.libraries import LIBRARIES, Library, canonical
from app.version import __version__

SPEC_VERSION = "1.6"
MEDIA_TYPE = f"application/vnd.cyclonedx+json; version={SPEC_VERSION}"
FILE_NAME = f"ostiary-{__version__}.cdx.json"
ROOT_REF = f"pkg:generic/ostiary@{__version__}"
NAMESPACE = uuid.UUID("5b2f7b0e-6e0a-5d0c-9f54-2f1f5a1f7c11")
"""Under which the serial numbers are made: the same components have the same one."""
SPDX_IDS = frozenset(
    """0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause ISC LGPL-3.0-or-later MIT MPL-2.0 PSF-2.0 Unlicense Zlib""".split()
)
"""Those that packages write into their free-text field as they should."""


def document(libraries: Sequence[Library], vendored: Sequence[Mapping[str, Any]], made_at: datetime) -> dict[str, Any]:
    """The bill: the Python packages, the browser libraries with their files, and what they stand on."""
    components = [_of_library(one) for one in libraries]
    components += [_of_package(one) for one in vendored]
    components += _foundation()
    refs = {one.key: _purl(one) for one in libraries}
    direct = [refs[name] for name in map(canonical, LIBRARIES) if name in refs]
    others = [one["bom-ref"] for one in components[len(libraries) :]]
    dependencies = [{"ref": ROOT_REF, "dependsOn": sorted({*direct, *others})}]
    dependencies += [
        {"ref": refs[one.key], "dependsOn": sorted(refs[name] for name in one.requires)} for one in libraries
    ]
    dependencies += [{"ref": ref} for ref in others]
    serial = uuid.uuid5(NAMESPACE, msgspec.json.encode([__version__, components]).decode())
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": made_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "lifecycles": [{"phase": "operations"}],
            "component": {
                "type": "application",
                "bom-ref": ROOT_REF,
                "name": "Ostiary",
                "version": __version__,
                "description": "A security gateway for AI traffic.",
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "purl": ROOT_REF,
            },
        },
        "components": components,
        "dependencies": dependencies,
    }


def _of_library(one: Library) -> dict[str, Any]:
    component = _component("library", one.name, one.version, _purl(one))
    if one.summary:
        component["description"] = one.summary
    component["licenses"] = [_licence(one)]
    return component


def _licence(one: Library) -> dict[str, Any]:
    """An SPDX expression or identifier where the package's words are one, else its words."""
    words = one.licence
    if one.expression or (words not in SPDX_IDS and SPDX_IDS.issuperset(re.split(" (?:OR|AND) ", words))):
        return {"expression": one.expression or words}
    return {"license": {"id" if words in SPDX_IDS else "name": words}}


def _of_package(package: Mapping[str, Any]) -> dict[str, Any]:
    """A browser library with the files of it that are served, each with its hash."""
    name, version = str(package["package"]), str(package["version"])
    component = _component("library", name, version, f"pkg:npm/{quote(name)}@{quote(version)}")
    component["licenses"] = [{"license": {"id": package["licence"]}}]
    component["components"] = [
        {"type": "file", "name": file, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for file, digest in package["files"].items()
    ]
    return component


def _foundation() -> list[dict[str, Any]]:
    """The interpreter, and the libraries in C that come with it rather than with a package."""
    parts = (
        ("platform", "CPython", platform.python_version()),
        ("library", "SQLite", sqlite3.sqlite_version),
        ("library", "OpenSSL", ssl.OPENSSL_VERSION.split()[1]),
    )
    return [
        _component(kind, name, version, f"pkg:generic/{quote(name.lower())}@{quote(version)}")
        for kind, name, version in parts
    ]


def _component(kind: str, name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _purl(one: Library) -> str:
    return f"pkg:pypi/{one.key}@{quote(one.version)}"
