"""Whether base64 holds what its type says, by its first bytes, and what runs in the client."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from proxies.mcp.media import ACTIVE_RULE_ID, MAX_FINDINGS, findings
from rules.model import Action, Severity, Target, Text

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def found(mime_type: str, data: bytes | str, *, blob: bool = False) -> list[tuple[str, str, Action]]:
    encoded = data if isinstance(data, str) else base64.b64encode(data).decode()
    part: dict[str, Any] = {"mimeType": mime_type, "blob" if blob else "data": encoded}
    document = {"result": {"content": [{"type": "text", "text": "x"}, part]}}
    text = Text(Target.TOOL_RESULT, "/result/content/1/mimeType", mime_type)
    return [(one.path, one.evidence, one.action) for one in findings(document, [text])]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x7fELF\x02\x01", "a program"),
        (b"MZ" + bytes(80), "a program"),
        (b"\xcf\xfa\xed\xfe", "a program"),
        (b"\x00asm\x01", "a program"),
        (b"#!/bin/sh\ncurl", "a script"),
        (b"#! /usr/bin/env python", "a script"),
        (b"  <?php system($_GET[0]);", "a script"),
        (b"PK\x03\x04\x14", "an archive"),
        (b"\x1f\x8b\x08\x00", "an archive"),
        (b"<!DOCTYPE HTML><p>", "a web page"),
        (b"\xef\xbb\xbf <!-- x --> <script>alert(1)</script>", "a web page"),
    ],
)
@pytest.mark.parametrize("mime_type", ["image/png", "IMAGE/JPEG; q=1", "audio/wav", "text/plain", "application/pdf"])
def test_I_32_what_is_opened_by_something_else_is_told(mime_type: str, data: bytes, what: str) -> None:
    declared = mime_type.lower().partition(";")[0]
    assert found(mime_type, data) == [("/result/content/1/data", f"{what} that is called {declared}", Action.ALERT)]


@pytest.mark.parametrize(
    ("mime_type", "data"),
    [
        ("image/png", PNG),
        ("image/jpeg", b"\xff\xd8\xff\xe0"),
        ("image/gif", b"GIF89a"),
        ("application/pdf", b"%PDF-1.7"),
        ("image/webp", b"RIFF\x00\x00\x00\x00WEBP"),
        ("audio/wav", b"RIFF\x00\x00\x00\x00WAVE"),
        ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("application/zip", b"PK\x03\x04"),
        ("application/octet-stream", b"\x7fELF"),
        ("text/html", b"<html>"),
        ("text/plain", b"MZ is the beginning of a sentence"),
        ("image/png", "not base64 at all!"),
        ("image/png", ""),
        ("", b"\x7fELF"),
    ],
)
def test_I_32_what_is_as_it_says_or_may_be_anything_is_not(mime_type: str, data: bytes | str) -> None:
    assert found(mime_type, data) == []


def test_I_32_a_picture_of_another_format_is_noted_and_no_more() -> None:
    expected = [("/result/content/1/blob", "something else that is called image/png", Action.LOG)]
    assert found("image/png", b"\xff\xd8\xff\xe0", blob=True) == expected


@pytest.mark.parametrize(
    ("uri", "mime_type", "told"),
    [
        ("ui://weather/view", "text/html;profile=mcp-app", True),
        ("https://x.test/a", 'Text/HTML; charset=utf-8; profile="mcp-app"', True),
        ("UI://weather/view", "text/html", True),
        ("ui://weather/data", "application/json", True),
        ("https://x.test/page", "text/html; charset=utf-8", False),
        ("file:///ui/mcp-app.txt", "text/plain", False),
    ],
)
def test_M_21_a_page_that_runs_in_the_client_is_told(uri: str, mime_type: str, told: bool) -> None:
    text = Text(Target.TOOL_RESULT, "/result/contents/0/mimeType", mime_type)
    for member in ("text", "blob"):
        document = {"result": {"contents": [{"uri": uri, "mimeType": mime_type, member: "aGVsbG8="}]}}
        found = [(one.rule_id, one.path, one.severity, one.action) for one in findings(document, [text])]
        wanted = (ACTIVE_RULE_ID, f"/result/contents/0/{member}", Severity.MEDIUM, Action.ALERT)
        assert found == ([wanted] if told else [])
    declared = {"result": {"contents": [{"uri": uri, "mimeType": mime_type}]}}
    assert findings(declared, [text]) == []


def test_places_that_are_none_and_floods_cost_nothing() -> None:
    bad = {"mimeType": "image/png", "data": base64.b64encode(b"\x7fELF").decode()}
    document = {"result": {"content": [bad] * 100, "a/b": bad}}
    texts = [Text(Target.TOOL_RESULT, f"/result/content/{index}/mimeType", "image/png") for index in range(100)]
    assert len(findings(document, texts)) == MAX_FINDINGS
    for path in ("/result/content/x/mimeType", "/result/content/999/mimeType", "/gone/mimeType", "/mimeType"):
        assert findings(document, [Text(Target.TOOL_RESULT, path, "image/png")]) == []
    assert len(findings(document, [Text(Target.TOOL_RESULT, "/result/a~1b/mimeType", "image/png")])) == 1
