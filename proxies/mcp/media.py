"""Whether base64 in an answer holds what its `mimeType` says (I-32): by its first bytes, which is all that is decoded.

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
PACK: Final = "mcp-media"
CATEGORY: Final = "evasion/media-type"
MAX_FINDINGS: Final = 20
MAX_LOOKED_AT: Final = 1_000
HEAD_CHARACTERS: Final = 512
"""Of base64: 384 bytes."""
_MEMBER: Final = "/mimeType"

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


def _finding(text: Text, member: str, severity: Severity, action: Action, evidence: str) -> Finding:
    return Finding(
        rule_id=RULE_ID,
        pack=PACK,
        title="Content that is not what its type says",
        category=CATEGORY,
        severity=severity,
        confidence=Confidence.HIGH,
        score=50 if severity is Severity.HIGH else 10,
        action=action,
        target=text.target,
        path=text.path.removesuffix(_MEMBER) + f"/{member}",
        start=0,
        end=0,
        view="raw",
        evidence=evidence,
    )
