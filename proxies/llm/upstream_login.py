"""How the gateway logs in at the upstream of an LLM proxy: a key in a header, or a signature for AWS over what is sent.

What AWS says about a signature is for whoever runs the gateway: its words repeat what was signed, session token included,
so the client learns the kind of the fault and the console what to do about it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from proxies.contract import UpstreamAuth
from proxies.egress_policy import Origin
from proxies.llm.aws_signature import AWSCredentials, Fields, signature_fields
from proxies.refusal import Refusal
from proxies.transport.headers import Headers
from proxies.upstream_key import key_fields

SERVICE: Final = "bedrock"
MAX_SKEW_SECONDS: Final = 300
"""How far the clocks may be apart: AWS refuses older and newer signatures."""
_SIGNED_PREFIX: Final = "x-amz"
"""Fields of AWS change what is done; the others may be changed on the way, by a proxy for one."""
_CHECK_KEYS: Final = (
    "Check access key ID, secret access key and session token of the proxy, and whether the key is still active at AWS."
)
_CHECK_ALL: Final = (
    "Check secret access key and region of the proxy, and the clock of the gateway: AWS allows five minutes."
)
_RENEW: Final = "Give the proxy new temporary credentials: key and session token are made together and end together."
_REMEDIES: Final = {
    "AuthFailure": _CHECK_KEYS,
    "ExpiredToken": _RENEW,
    "ExpiredTokenException": _RENEW,
    "IncompleteSignature": _CHECK_ALL,
    "IncompleteSignatureException": _CHECK_ALL,
    "InvalidClientTokenId": _CHECK_KEYS,
    "InvalidSignatureException": _CHECK_ALL,
    "MissingAuthenticationToken": _CHECK_ALL,
    "MissingAuthenticationTokenException": _CHECK_ALL,
    "RequestExpired": _CHECK_ALL,
    "SignatureDoesNotMatch": _CHECK_ALL,
    "UnrecognizedClientException": _CHECK_KEYS,
}
"""Exceptions of AWS that blame the credentials of the gateway, and what to do about each."""


def login_fields(auth: UpstreamAuth, origin: Origin, method: str, target: str, headers: Fields, body: bytes) -> Fields:
    """The fields to send besides `headers`. `target` is what the pool puts behind the path of the target URL."""
    if auth.type == "aws":
        return _signed(auth, origin, method, target, headers, body)
    return key_fields(auth)


def _signed(auth: UpstreamAuth, origin: Origin, method: str, target: str, headers: Fields, body: bytes) -> Fields:
    path, _, query = f"{origin.base_path}{target}".partition("?")
    covered = [(name, value) for name, value in headers if name == "content-type" or name.startswith(_SIGNED_PREFIX)]
    return signature_fields(
        AWSCredentials(auth.access_key_id, auth.value, auth.region, auth.session_token),
        method,
        path,
        query,
        [("host", origin.authority), *covered],
        body,
        at=datetime.now(UTC),
        service=SERVICE,
    )


def signature_refusal(auth: UpstreamAuth, status: int, headers: Headers) -> Refusal | None:
    """The refusal for an answer with which AWS turns the gateway's credentials away; None for every other answer."""
    if auth.type != "aws" or status < 400:
        return None
    name = (headers.get("x-amzn-errortype") or "").partition(":")[0].strip()
    if name not in _REMEDIES:
        return None
    skew = _skew_words(headers.get("date"))
    return Refusal(
        status,
        "upstream_signature_refused",
        f"AWS did not accept the credentials of the gateway ({name}).{f' {skew}' if skew else ''}",
        remediation="Set the clock of the gateway by a time server." if skew else _REMEDIES[name],
        outcome="upstream_error",
    )


def _skew_words(date: str | None) -> str:
    """How far the gateway's clock is off, where the date of an answer shows that it is too far."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return ""
    ahead_seconds = (datetime.now(UTC) - theirs.replace(tzinfo=UTC)).total_seconds()
    if abs(ahead_seconds) <= MAX_SKEW_SECONDS:
        return ""
    return f"The gateway's clock is {abs(ahead_seconds) / 60:.0f} minutes {'ahead of' if ahead_seconds > 0 else 'behind'} theirs."
