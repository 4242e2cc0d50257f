"""Pages that a server wants the user to open (L-14): the address is the attacker's text, so only plain https may pass.

The host goes into the record of the call, where an operator sees whom the users were sent to.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from proxies.exchange import Exchange
from proxies.mcp.refusals import printable
from proxies.refusal import Refusal

URL_ELICITATION_REQUIRED: Final = -32042
MAX_URL_CHARACTERS: Final = 2048


def check_urls(exchange: Exchange, document: Any) -> list[str]:
    """Note the hosts of the pages that a message asks the user to open, and return them; raises a block for an address
    that may not pass."""
    hosts: list[str] = []
    for url in elicited_urls(document):
        host = host_of(url)
        if host is None:
            raise Refusal(
                403,
                "elicited_url_refused",
                f"The server asked the user to open {printable(str(url))}, which is not a plain https address.",
                outcome="blocked",
            )
        hosts.append(host)
        look_alike = " (an internationalised name, which may look like another one)" if "xn--" in host else ""
        exchange.reason = exchange.reason or f"The server asked the user to open a page of {host}{look_alike}."
    return hosts


def elicited_urls(document: Any) -> list[Any]:
    """Every address in the parts of a message: a legacy request, an error -32042, or the questions of a modern result."""
    if type(document) is not dict:
        return []
    asked: list[Any] = []
    for name in ("params", "result"):
        part = document.get(name)
        if type(part) is not dict:
            continue
        if name == "params":
            asked.append(part)
        questions = part.get("inputRequests")
        if type(questions) is dict:
            asked += [one.get("params") for one in questions.values() if type(one) is dict]
    error = document.get("error")
    if type(error) is dict and error.get("code") == URL_ELICITATION_REQUIRED:
        data = error.get("data")
        elicitations = data.get("elicitations") if type(data) is dict else None
        # Whatever the mode says: nothing but an address can be meant here.
        asked += [{**one, "mode": "url"} for one in elicitations or () if type(one) is dict]
    return [one.get("url") for one in asked if type(one) is dict and one.get("mode") == "url"]


def host_of(url: Any) -> str | None:
    """The host of an https address in plain ASCII that names nobody but its host, else None."""
    if type(url) is not str or len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable():
        return None
    if " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.password is not None:
        return None
    return parts.hostname
