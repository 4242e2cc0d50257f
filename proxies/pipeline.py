"""The fixed order in which a call is judged (DESIGN §3). Every transport and protocol goes through these functions.

origin and loop → authenticate (and authorise) → [endpoint parses] → inspect request → [endpoint forwards] → inspect response →
record. A step that refuses closes its lap too, so that the timeline of a call ends with the step that ended it. An
exception in a step is never an allow: the steps raise `Refusal`, and whatever else escapes is turned into a
refusal by `dispatch`.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxies.exchange import Exchange
from proxies.steps import authenticate, inspect, loop, origin
from proxies.steps.inspect import ResponseInspector
from rules.model import Text

__all__ = ["ResponseInspector", "admit", "check_origin", "has_rules", "inspect_request", "inspect_response"]


def check_origin(exchange: Exchange) -> None:
    """Host, Origin and a call that goes in a circle, before anything else and before the body is read."""
    try:
        origin.check(exchange)
        loop.check(exchange)
    finally:
        exchange.lap("origin")


def admit(exchange: Exchange) -> None:
    """Credential and right to use this proxy."""
    try:
        authenticate.check(exchange)
    finally:
        exchange.lap("authenticate")


def has_rules(exchange: Exchange) -> bool:
    """Whether anything of this proxy reads texts; where nothing does there is no need to collect them."""
    return exchange.proxy.reads_texts


def inspect_request(exchange: Exchange, texts: Sequence[Text]) -> None:
    """Inspect everything that would reach the upstream; raises `Refusal` on a block."""
    try:
        inspect.scan(exchange, texts, "request")
    finally:
        exchange.lap("inspect_request")


def inspect_response(exchange: Exchange, texts: Sequence[Text]) -> None:
    """Inspect everything that would reach the client; raises `Refusal` on a block."""
    try:
        inspect.scan(exchange, texts, "response")
    finally:
        exchange.lap("inspect_response")
