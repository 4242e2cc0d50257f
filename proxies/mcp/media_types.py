"""JSON in, JSON and event streams out, nothing compressed (G-03, G-05)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxies.mcp.refusals import RPCRefusal, invalid_request
from proxies.transport.headers import Headers

STREAM_HEADERS: Final = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
]
MAX_KNOWN_CHARACTERS: Final = 256
_ANSWERS: Final = frozenset({"application/json", "text/event-stream"})
"""What the answer to a POST can be."""


def check_json_body(headers: Headers) -> None:
    """Refuse a body that is not plain JSON."""
    if headers.get("content-type") == "application/json" and "content-encoding" not in headers:
        return  # As most clients say it.
    media_type = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise invalid_request(
            "The body must be application/json.", status=415, remediation="Send 'Content-Type: application/json'."
        )
    if (headers.get("content-encoding") or "identity").strip().lower() != "identity":
        raise invalid_request(
            "Compressed request bodies cannot be inspected.",
            status=415,
            remediation="Send the body without Content-Encoding.",
        )


def check_post(headers: Headers) -> None:
    """Refuse a POST whose body or whose answer could not be what the transport prescribes."""
    check_json_body(headers)
    named = accepted(headers)
    if not named >= _ANSWERS:
        raise not_acceptable("application/json" if "application/json" not in named else "text/event-stream")


def accepted(headers: Headers) -> frozenset[str]:
    """The media types that the client names in Accept and does not weigh with zero."""
    accept = ",".join(headers.getall("accept")) if headers.has_repeats() else headers.get("accept") or ""
    return _known(accept) if len(accept) <= MAX_KNOWN_CHARACTERS else _named(accept)


def _named(accept: str) -> frozenset[str]:
    named = set()
    for part in accept.lower().split(","):
        media_type, _, parameters = part.partition(";")
        if not any(_is_zero_weight(parameter) for parameter in parameters.split(";")):
            named.add(media_type.strip())
    return frozenset(named)


_known = lru_cache(maxsize=64)(_named)
"""Most clients always send the same field."""


def not_acceptable(needed: str) -> RPCRefusal:
    """The client would not take what the transport prescribes."""
    return invalid_request(
        f"The Accept header must name {needed}.",
        status=406,
        remediation="Send 'Accept: application/json, text/event-stream'.",
    )


def _is_zero_weight(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and set(value.strip()) <= {"0", "."}
