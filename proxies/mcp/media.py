"""Whether base64 in an answer holds what its `mimeType` says (I-32): by its first bytes, which is all that is decoded.
And whether an answer brings a page of MCP Apps, which runs in the client (M-21).

A picture that is a program, a script, an archive or a web page is meant for something that opens it. A picture of another
format is a mistake that many servers make.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Final

from rules.model import Action, Confidence, Finding, Severity, Text

RULE_ID: Final = "MCP-MEDIA-001"
ACTIVE_RULE_ID: Final = "MCP-MEDIA-002"
PACK: Final = "mcp-media"
CATEGORY: Final = "evasion/media-type"
ACTIVE_CATEGORY: Final = "mcp/active-content"
MAX_FINDINGS: Final = 20
MAX_LOOKED_AT: Final = 1_000
HEAD_CHARACTERS: Final = 512
"""Of base64: 384 bytes."""
_MEMBER: Final = "/mimeType"
_ACTIVE_SCHEME: Final = "ui:"
_ACTIVE_PROFILE: Final = re.compile(r";\s*profile\s*=\s*\"?mcp-app\b", re.IGNORECASE)

_SCORES: Final = {Severity.HIGH: 50, Severity.MEDIUM: 30, Severity.LOW: 10}
_PICTURES: Final = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/jpg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/bmp": (b"BM",),
    "application/pdf": (b"%PDF-",),
}
"""Types whose first bytes are certain; `image/webp` and sounds have their mark further in."""
_DANGERS: Final = (
    (
        "a program",
        re.compile(
            rb"\x7fELF|MZ.{58}|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]|\x00asm", re.DOTALL
        ),
    ),
    ("a script", re.compile(rb"#!\s*/|(?:\xef\xbb\xbf)?\s*<\?php", re.IGNORECASE)),
    ("an archive", re.compile(rb"PK\x03\x04|\x1f\x8b\x08|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|BZh[1-9]|\xfd7zXZ")),
    (
        "a web page",
        re.compile(
            rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body|script|iframe)\b",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
)
_CHECKED: Final = (
    "image/",
    "audio/",
    "video/",
    "font/",
    "text/plain",
    "text/csv",
    "application/pdf",
    "application/json",
)
"""What is shown or read and never run; of other types anything can be expected."""


def findings(document: Any, texts: Sequence[Text]) -> list[Finding]:
    """A finding for each part of an answer that is something else than it says. `texts` are those of the document."""
    found: list[Finding] = []
    for text in [text for text in texts if text.path.endswith(_MEMBER)][:MAX_LOOKED_AT]:
        if len(found) >= MAX_FINDINGS:
            break
        part = _part_at(document, text.path.removesuffix(_MEMBER))
        if part is not None and (finding := _judged(part, text)) is not None:
            found.append(finding)
    return found


def _judged(part: dict[str, Any], text: Text) -> Finding | None:
    if _is_active(part, text.text):
        member = next((one for one in ("text", "blob") if type(part.get(one)) is str), "")
        return _active(text, member) if member else None
    member = "blob" if type(part.get("blob")) is str else "data"
    head = _head(part.get(member))
    declared = text.text.partition(";")[0].strip().lower()
    if not head or not declared.startswith(_CHECKED):
        return None
    danger = next((what for what, pattern in _DANGERS if pattern.match(head)), "")
    if danger:
        return _finding(text, member, Severity.HIGH, Action.ALERT, f"{danger} that is called {declared[:60]}")
    if (marks := _PICTURES.get(declared)) is not None and not head.startswith(marks):
        return _finding(text, member, Severity.LOW, Action.LOG, f"something else that is called {declared[:60]}")
    return None


def _is_active(part: dict[str, Any], mime_type: str) -> bool:
    """Whether the client would show it as an application: the extension is never negotiated, and not all clients ask."""
    uri = part.get("uri")
    return (type(uri) is str and uri[:3].lower() == _ACTIVE_SCHEME) or _ACTIVE_PROFILE.search(mime_type) is not None


def _active(text: Text, member: str) -> Finding:
    return _finding(
        text,
        member,
        Severity.MEDIUM,
        Action.ALERT,
        "an application of the server's (MCP Apps)",
        rule_id=ACTIVE_RULE_ID,
        title="A page that runs in the client",
        category=ACTIVE_CATEGORY,
    )


def _head(value: Any) -> bytes:
    if type(value) is not str:
        return b""
    start = value[:HEAD_CHARACTERS]
    try:
        return base64.b64decode(start[: len(start) // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _part_at(document: Any, path: str) -> dict[str, Any] | None:
    """The object at a JSON pointer; None for a place that is none."""
    value = document
    for step in path.split("/")[1:]:
        if type(value) is dict:
            value = value.get(step.replace("~1", "/").replace("~0", "~"))
        elif type(value) is list and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value if type(value) is dict else None


def _finding(
    text: Text,
    member: str,
    severity: Severity,
    action: Action,
    evidence: str,
    *,
    rule_id: str = RULE_ID,
    title: str = "Content that is not what its type says",
    category: str = CATEGORY,
) -> Finding:
    return Finding(
        rule_id=rule_id,
        pack=PACK,
        title=title,
        category=category,
        severity=severity,
        confidence=Confidence.HIGH,
        score=_SCORES[severity],
        action=action,
        target=text.target,
        path=text.path.removesuffix(_MEMBER) + f"/{member}",
        start=0,
        end=0,
        view="raw",
        evidence=evidence,
    )
