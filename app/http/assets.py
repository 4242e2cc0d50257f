"""Static files under names that carry their hash, so that browsers may keep them for ever.

`/static/app.3f2a9c1b.css` is `web/static/app.css`. The name changes with the content, the answer is immutable,
and a name with another hash is not found. Files are read once, at start.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from app.paths import STATIC

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}

SMALLEST_GZIPPED_BYTES = 1024


class Asset(msgspec.Struct, frozen=True, dict=True):
    """One file as it is served."""

    url: str
    media_type: str
    body: bytes

    @cached_property
    def gzipped(self) -> bytes:
        """Compressed when it is first asked for, because all files together delay the start; empty when it does not pay."""
        return gzip.compress(self.body, 6, mtime=0) if len(self.body) >= SMALLEST_GZIPPED_BYTES else b""


class Assets:
    """The files of one folder by name (`app.css`, `vendor/htmx.js`) and by hashed path."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._by_name: dict[str, Asset] = {}
        self._by_url: dict[str, Asset] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix in MEDIA_TYPES:
                self._add(path)

    def __repr__(self) -> str:
        return f"<Assets {len(self._by_name)} files>"

    def _add(self, path: Path) -> None:
        body = path.read_bytes()
        name = path.relative_to(self._folder).as_posix()
        stem, _, suffix = name.rpartition(".")
        url = f"/static/{stem}.{hashlib.sha256(body).hexdigest()[:10]}.{suffix}"
        asset = Asset(url=url, media_type=MEDIA_TYPES[path.suffix], body=body)
        self._by_name[name] = asset
        self._by_url[url] = asset

    def url(self, name: str) -> str:
        """The hashed URL of a file; KeyError for one that is not shipped, so that a typo fails in the tests."""
        return self._by_name[name].url

    def find(self, url: str) -> Asset | None:
        """The file behind a hashed URL, or None."""
        return self._by_url.get(url)

    def versions(self) -> list[dict[str, Any]]:
        """The vendored packages: name, version, licence, files with SHA-256."""
        found: list[dict[str, Any]] = json.loads((self._folder / "vendor" / "versions.json").read_text("utf-8"))
        return found
