#!/usr/bin/env python3
"""Fetch the browser libraries that the console ships, and write down what they are.

Run by a developer when a version changes: `python scripts/vendor_assets.py`. It asks `npm pack` for the exact
versions below, copies the few files that the pages use to `web/static/vendor/`, builds one icon sprite from the
icons listed here, and writes `versions.json` with version, licence and SHA-256 of every file. Nothing is fetched
when Ostiary runs.

Every package must carry the licence named here; a package without a licence file gets the standard text with the
copyright line of its own banner.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

STATIC = Path(__file__).resolve().parent.parent / "web" / "static"
VENDOR = STATIC / "vendor"


class Package(NamedTuple):
    """One npm package: what we take from it (source inside the package → name in the vendor folder)."""

    name: str
    version: str
    licence: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "htmx.org",
        "4.0.1",
        "0BSD",
        {"dist/htmx.min.js": "htmx.js", "dist/ext/hx-sse.min.js": "hx-sse.js", "LICENSE": "htmx.LICENSE"},
    ),
    Package("@tabler/core", "1.6.1", "MIT", {"dist/css/tabler.min.css": "tabler.css"}),
    Package(
        "uplot",
        "1.6.32",
        "MIT",
        {"dist/uPlot.iife.min.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot.LICENSE"},
    ),
    Package("@tabler/icons", "3.51.0", "MIT", {"LICENSE": "tabler-icons.LICENSE"}),
)

ICONS = """
activity alert-circle alert-octagon alert-triangle arrow-back-up arrow-left arrow-right ban bell bolt check
chevron-down chevron-left chevron-right circle-check circle-dashed circle-dot circle-x clock code copy
device-desktop dots download external-link eye file-text filter flag-off hourglass home info-circle key keyboard
list lock logout menu-2 message-chatbot moon package player-pause player-play player-stop plug-connected plus
refresh search server-2 settings shield-check shield-x sun terminal-2 tool trash user users x
""".split()

SPDX_NAMES = {"BSD-0-Clause": "0BSD"}
"""Licence names that packages still use, and what SPDX calls them today."""

MIT = """MIT License

{copyright}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def unpack(package: Package, into: Path) -> Path:
    """Download one package with `npm pack` and unpack it; returns the folder of its files."""
    into.mkdir(parents=True)
    subprocess.run(
        ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        cwd=into,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = into.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    folder = into / "package"
    declared = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    licence = SPDX_NAMES.get(declared["license"], declared["license"])
    if (declared["version"], licence) != (package.version, package.licence):
        raise SystemExit(f"{package.name}: got {declared['version']} under {licence}, not what was asked for")
    return folder


def copyright_lines(css: str) -> str:
    """The copyright lines of a banner comment, without the host names in it."""
    lines = re.findall(r"Copyright [^\n(]+", css[:1000])
    if not lines:
        raise SystemExit("the banner names no copyright holder")
    return "\n".join(line.strip() for line in lines)


def sprite(outline: Path) -> str:
    """One SVG whose symbols are the icons we use; pages refer to them by `<use href="…#name">`."""
    symbols = []
    for name in ICONS:
        drawing = (outline / f"{name}.svg").read_text(encoding="utf-8")
        shapes = re.findall(r"<(?:path|circle|rect|line)[^>]*/>", drawing)
        body = "".join(shape for shape in shapes if 'stroke="none"' not in shape)
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def without_source_map(text: str) -> str:
    """A file that names a source map makes the browser ask for it, and we do not ship those."""
    return re.sub(r"\n?(?://|/\*)# sourceMappingURL=[^\n]*", "", text)


def main() -> int:
    """Vendor everything; the folder is rebuilt from nothing so that no stale file stays."""
    shutil.rmtree(VENDOR, ignore_errors=True)
    VENDOR.mkdir(parents=True)
    entries = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, package in enumerate(PACKAGES):
            folder = unpack(package, Path(scratch) / str(number))
            names = list(package.files.values())
            for source, name in package.files.items():
                text = (folder / source).read_text(encoding="utf-8")
                (VENDOR / name).write_text(without_source_map(text), encoding="utf-8")
            if package.name == "@tabler/core":
                text = (VENDOR / "tabler.css").read_text(encoding="utf-8")
                (VENDOR / "tabler.LICENSE").write_text(MIT.format(copyright=copyright_lines(text)), encoding="utf-8")
                names.append("tabler.LICENSE")
            if package.name == "@tabler/icons":
                (VENDOR / "icons.svg").write_text(sprite(folder / "icons" / "outline"), encoding="utf-8")
                names.append("icons.svg")
            entries.append(
                {
                    "package": package.name,
                    "version": package.version,
                    "licence": package.licence,
                    "files": {n: hashlib.sha256((VENDOR / n).read_bytes()).hexdigest() for n in sorted(names)},
                }
            )
    (VENDOR / "versions.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(f"vendored {len(entries)} packages, {len(ICONS)} icons into {VENDOR}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
