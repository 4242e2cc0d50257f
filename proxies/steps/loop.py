"""A call that comes back to a proxy it has passed: the target's name leads here, which nobody can see from the name."""

from __future__ import annotations

from proxies.exchange import Exchange
from proxies.refusal import Refusal
from proxies.transport.via import MAX_HOPS, passed_proxies, pseudonym


def check(exchange: Exchange) -> None:
    """Refuse a call that has passed this proxy before, or more proxies than any chain has (SSRF-07)."""
    headers = exchange.request.headers
    if headers.get("via") is None:
        return
    passed = passed_proxies(headers.getall("via"))
    if len(passed) >= MAX_HOPS or pseudonym(exchange.proxy.config.id) in passed:
        raise Refusal(
            508,
            "loop_detected",
            "The call has come back to a proxy that it had passed.",
            remediation="Correct the target of this proxy, or of one behind it: its name leads back here.",
        )
