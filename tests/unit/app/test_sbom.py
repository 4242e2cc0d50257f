"""The bill of materials: complete against the lock, and a CycloneDX 1.6 document by its structure."""

from __future__ import annotations

import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.system import libraries, sbom
from app.version import __version__
from tests.support.console import Console

ROOT = Path(__file__).parents[3]
OTHER_PLATFORMS = {"colorama", "tzdata"}
"""What the lock has for Windows only."""
FIXED = datetime(2026, 11, 1, tzinfo=UTC)

Text = Annotated[str, Meta(min_length=1)]


class Licence(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`license` of the schema: an id or a name."""

    id: Text | None = None
    name: Text | None = None


class LicenceChoice(msgspec.Struct, forbid_unknown_fields=True):
    license: Licence | None = None
    expression: Text | None = None


class Hash(msgspec.Struct, forbid_unknown_fields=True):
    alg: Literal["SHA-256"]
    content: Annotated[str, Meta(pattern="^[a-f0-9]{64}$")]


class File(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["file"]
    name: Text
    hashes: list[Hash]


class Component(msgspec.Struct, forbid_unknown_fields=True, rename={"bom_ref": "bom-ref"}):
    type: Literal["application", "library", "platform"]
    bom_ref: Text
    name: Text
    version: Text
    purl: Annotated[str, Meta(pattern="^pkg:(pypi|npm|generic)/[^@]+@.+$")]
    description: Text | None = None
    licenses: Annotated[list[LicenceChoice], Meta(min_length=1, max_length=1)] | None = None
    components: list[File] = []


class Lifecycle(msgspec.Struct, forbid_unknown_fields=True):
    phase: Literal["operations"]


class About(msgspec.Struct, forbid_unknown_fields=True):
    timestamp: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    lifecycles: list[Lifecycle]
    component: Component


class Dependency(msgspec.Struct, forbid_unknown_fields=True):
    ref: Text
    dependsOn: list[Text] = []


class Bill(msgspec.Struct, forbid_unknown_fields=True, rename={"schema": "$schema"}):
    """The members that ours has, held to what the schema says of them."""

    schema: Literal["http://cyclonedx.org/schema/bom-1.6.schema.json"]
    bomFormat: Literal["CycloneDX"]
    specVersion: Literal["1.6"]
    serialNumber: Annotated[
        str, Meta(pattern="^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
    ]
    version: Annotated[int, Meta(ge=1)]
    metadata: About
    components: list[Component]
    dependencies: list[Dependency]


def locked() -> set[str]:
    names = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return set(map(libraries.canonical, names))


def test_our_own_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {libraries.canonical(re.split(r"[^A-Za-z0-9._-]", text)[0]) for text in project["dependencies"]}
    assert wanted == libraries.DIRECT


def test_every_package_of_the_lock_is_told_and_no_other() -> None:
    told = {one.key for one in libraries.installed()}
    if sys.platform != "win32":
        assert told == locked() - OTHER_PLATFORMS
    assert all(one.version and one.licence for one in libraries.installed())


async def test_the_bill_is_a_cyclonedx_document_whose_references_hold(console: Console) -> None:
    answer = await console.client.get("/api/v1/system/sbom", headers=console.admin)
    assert answer.headers["content-type"] == sbom.MEDIA_TYPE
    assert answer.headers["content-disposition"] == f'attachment; filename="ostiary-{__version__}.cdx.json"'
    bill = msgspec.json.decode(answer.content, type=Bill)
    refs = [bill.metadata.component.bom_ref, *(one.bom_ref for one in bill.components)]
    assert len(refs) == len(set(refs))
    assert [one.ref for one in bill.dependencies if one.ref not in refs] == []
    assert {ref for one in bill.dependencies for ref in one.dependsOn} <= set(refs)
    reached, waiting = set(), [bill.metadata.component.bom_ref]
    needs = {one.ref: one.dependsOn for one in bill.dependencies}
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += needs[ref]
    assert reached == set(refs), "nothing is in the bill that nobody needs"
    for one in bill.components:
        for choice in one.licenses or []:
            told = [choice.expression, choice.license and choice.license.id, choice.license and choice.license.name]
            assert len([text for text in told if text]) == 1, one.name
    names = {one.name for one in bill.components}
    assert {"litestar", "htmx.org", "CPython", "SQLite", "OpenSSL"} <= names


def test_the_same_packages_have_the_same_serial_number() -> None:
    def serial(*found: libraries.Library) -> Any:
        return sbom.document(found, [], FIXED)["serialNumber"]

    first, *others = libraries.installed()
    assert serial(first) == serial(first)
    assert serial(first) != serial(first, *others)


def test_licences_in_a_package_s_own_words_become_spdx_where_they_are() -> None:
    def told(licence: str, expression: str = "") -> Any:
        one = libraries.Library(name="x", version="1", summary="", licence=licence, expression=expression, requires=())
        [found] = [part for part in sbom.document([one], [], FIXED)["components"] if part["name"] == "x"]
        return found["licenses"]

    assert told("MIT") == [{"license": {"id": "MIT"}}]
    assert told("BSD License") == [{"license": {"name": "BSD License"}}]
    assert told("MIT OR Apache-2.0") == [{"expression": "MIT OR Apache-2.0"}]
    assert told("MIT AND PSF-2.0", "MIT AND PSF-2.0") == [{"expression": "MIT AND PSF-2.0"}]
