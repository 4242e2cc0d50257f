"""Signature Version 4 of AWS, made over the bytes that really go out (LLM-BDR-1). Pure: the time is given.

What a server of AWS reads again to check it stands in the canonical request: method, path, query, the signed header fields
and the digest of the body. The path is the one on the wire, encoded once more, as all services but S3 want it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

import msgspec

ALGORITHM: Final = "AWS4-HMAC-SHA256"
Fields = list[tuple[str, str]]


class AWSCredentials(msgspec.Struct, frozen=True):
    """Who signs, and for which region."""

    access_key_id: str
    secret_access_key: str
    region: str
    session_token: str = ""
    """Of temporary credentials; empty for those that stay."""

    def __repr__(self) -> str:
        return f"<AWSCredentials {self.access_key_id} {self.region}>"


def signature_fields(
    credentials: AWSCredentials,
    method: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    at: datetime,
    service: str,
) -> Fields:
    """The fields to send besides `headers`, all of which are signed; they hold the host. `at` is in UTC."""
    time = at.strftime("%Y%m%dT%H%M%SZ")
    added: Fields = [("x-amz-date", time)]
    if credentials.session_token:
        added.append(("x-amz-security-token", credentials.session_token))
    signed = _signed_fields([*headers, *added])
    names = ";".join(signed)
    canonical = "\n".join(
        (
            method,
            quote(path, safe="/~"),
            _canonical_query(query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{time[:8]}/{credentials.region}/{service}/aws4_request"
    text = f"{ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    credential, signature = f"{credentials.access_key_id}/{scope}", _hmac(key, text).hex()
    value = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return [*added, ("authorization", value)]


def _signed_fields(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By name in lower case, in the order of the names; the values of fields that come twice are joined."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    return {name: ",".join(values[name]) for name in sorted(values)}


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(
        (_encoded(name), _encoded(value)) for name, _, value in (part.partition("=") for part in query.split("&"))
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
