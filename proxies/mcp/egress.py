"""Where the tools of a server may be sent: the hosts in the arguments of calls, and in addresses of resources, against the
list of the proxy (SLG-ROAD-3). A list that is empty allows every host.

What a server does behind its tools cannot be seen here; what a client asks it to reach can. An address whose host cannot be
made out is none that the list names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote

from rules.model import Action, Confidence, Finding, Severity, Target, Text

RULE_ID: Final = "MCP-EGRESS-001"
PACK: Final = "mcp-egress"
CATEGORY: Final = "exfiltration/egress"
MAX_FINDINGS: Final = 20
RESOURCE_PATH: Final = "/params/uri"
_PATHS: Final = ("/params/arguments", RESOURCE_PATH)
MAX_HOST_CHARACTERS: Final = 300

_ADDRESS: Final = re.compile(
    # Browsers and most libraries take any number of slashes, either way round, after the schemes of the web.
    r"\b(?:(?P<web>https?|wss?|ftp):[/\\]*|[a-z][a-z0-9+.\-]{1,30}:[/\\]{2})(?P<authority>[^/\\\s?#\"'<>`|^{},;]{1,300})",
    re.IGNORECASE,
)
_WITHOUT_SCHEME: Final = re.compile(r"\s*[/\\]{2}(?P<authority>[^/\\\s?#\"'<>`|^{},;]*[.:][^/\\\s?#\"'<>`|^{},;]*)")
_BARE: Final = re.compile(
    r"\s*(?P<authority>(?:[^\s/\\?#\"'<>@]*@)?(?:\[[0-9a-f:.]+\]|(?:[\w-]+\.)+[\w-]{2,}|localhost)(?::\d{1,5})?)(?:[/?#].*)?\s*",
    re.IGNORECASE | re.DOTALL,
)
_NAMES_A_HOST: Final = re.compile(
    r"ur[li]|link|host|domain|server|endpoint|webhook|callback|website|address|origin", re.IGNORECASE
)


def findings(hosts: Sequence[str], texts: Sequence[Text]) -> list[Finding]:
    """A finding for each address in a request that leads to a host which the list does not name."""
    found: list[Finding] = []
    for text in texts:
        if text.target is not Target.TOOL_ARGS or not text.path.startswith(_PATHS):
            continue
        for start, end, host in _hosts(text):
            if not is_allowed(host, hosts):
                found.append(_finding(text.target, text.path, start, end, host))
                if len(found) >= MAX_FINDINGS:
                    return found
    return found


def page_findings(hosts: Sequence[str], pages: Sequence[str]) -> list[Finding]:
    """A finding for each of these hosts of pages, which a server asks users to open, that the list does not name."""
    wanted = dict.fromkeys(page.rstrip(".") for page in pages)
    refused = [page for page in wanted if hosts and not is_allowed(page, hosts)]
    return [_finding(Target.ELICITATION, "/params/url", 0, 0, page) for page in refused[:MAX_FINDINGS]]


def is_allowed(host: str, hosts: Sequence[str]) -> bool:
    """Whether the list names a host: itself, or with `*.` before it everything below."""
    return any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts)


def _hosts(text: Text) -> Iterator[tuple[int, int, str]]:
    """Each host in a text and where it stands; of spellings that hide one, the text as a whole."""
    plain = text.text
    for match in _matches(plain, text.path):
        yield match.start("authority"), match.end("authority"), host_of(match["authority"])
    seen = {plain}
    for other in (unicodedata.normalize("NFKC", plain), unquote(plain), unquote(unicodedata.normalize("NFKC", plain))):
        if other not in seen:
            seen.add(other)
            for match in _matches(other, text.path):
                yield 0, len(plain), host_of(match["authority"])


def _matches(text: str, path: str) -> Iterator[re.Match[str]]:
    if path == RESOURCE_PATH:
        # A server names its resources by schemes of its own, which lead nowhere but to itself.
        yield from (match for match in _ADDRESS.finditer(text) if match["web"])
        return
    yield from _ADDRESS.finditer(text)
    if (alone := _WITHOUT_SCHEME.match(text)) is not None:
        yield alone
    elif _NAMES_A_HOST.search(path.rpartition("/")[2]) and (bare := _BARE.fullmatch(text)) is not None:
        yield bare


def host_of(authority: str) -> str:
    """The host that an authority names, in one spelling; an empty text where that is not sure."""
    host = unicodedata.normalize("NFKC", unquote(authority)).rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    host = host.rstrip(".").lower()[:MAX_HOST_CHARACTERS]
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return ""


def _finding(target: Target, path: str, start: int, end: int, host: str) -> Finding:
    return Finding(
        rule_id=RULE_ID,
        pack=PACK,
        title="An address of a host that the proxy does not allow",
        category=CATEGORY,
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=90,
        action=Action.BLOCK,
        target=target,
        path=path,
        start=start,
        end=end,
        view="raw",
        evidence=(host or "a host that cannot be made out")[:160],
    )
