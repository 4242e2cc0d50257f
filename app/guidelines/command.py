"""`ostiary guidelines`: keep documents in a console, and see what would be cited for a text."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from app.guidelines.schemas import MAX_CHARACTERS
from app.mcp_server.command import TOKEN_VARIABLE
from rules.retrieval import Passage, PassageIndex, passages

EXIT_REFUSED = 1
TIMEOUT_SECONDS = 30.0
MAX_ANSWER_BYTES = 1024 * 1024


def run(given: argparse.Namespace) -> int:
    """Keep the documents, or look into them."""
    documents = []
    for path in given.files:
        try:
            documents.append((path.stem, _text(path)))
        except ValueError as error:
            print(f"ostiary: {path}: {error}", file=sys.stderr)
            return EXIT_REFUSED
    if given.guidelines_command == "search":
        return _search(given.text, documents)
    return _ingest(documents, given.console, os.environ)


def _text(path: Path) -> str:
    """The text of a file; raises ValueError."""
    try:
        with path.open("rb") as file:
            data = file.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        raise ValueError(error.strerror) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has more than {MAX_CHARACTERS} characters")
    return text


def _search(text: str, documents: Sequence[tuple[str, str]]) -> int:
    """Print what would be cited, as the console does it."""
    found: list[tuple[str, Passage]] = [
        (name, passage) for name, document in documents for passage in passages(document)
    ]
    index = PassageIndex([passage for _, passage in found])
    matches = index.search(text)
    for match in matches:
        name, passage = found[match.number]
        print(f"{name}: {passage.heading}" if passage.heading else name)
        print(f"  score {match.score}; words in common: {', '.join(match.terms)}")
        print("".join(f"  {line}\n" for line in passage.text.splitlines()))
    if not matches:
        print("No passage speaks of the same things.")
    return 0


def _ingest(documents: Sequence[tuple[str, str]], console: str, environ: Mapping[str, str]) -> int:
    token = environ.get(TOKEN_VARIABLE, "")
    url = urlsplit(console)
    if not token or url.scheme not in ("http", "https") or not url.hostname:
        print(
            f"ostiary: Give the address of a console with --console, and an API token in {TOKEN_VARIABLE}.",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    for name, text in documents:
        try:
            with closing(make(url.netloc, timeout=TIMEOUT_SECONDS)) as connection:
                body = msgspec.json.encode({"name": name, "content": text, "replace": True})
                connection.request("POST", f"{url.path.rstrip('/')}/api/v1/guidelines", body, headers)
                answer = connection.getresponse()
                said = answer.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            print(f"ostiary: {console}: {error}", file=sys.stderr)
            return EXIT_REFUSED
        if answer.status != 201:
            print(f"ostiary: {name}: {answer.status} {said.decode('utf-8', 'replace')[:500]}", file=sys.stderr)
            return EXIT_REFUSED
        print(f"{name}: {msgspec.json.decode(said)['data']['passages']} passages")
    return 0
