"""What a server of AWS does with a signature: it makes it again from what arrived, here with botocore, and compares."""

from __future__ import annotations

import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.scripted_upstream import ScriptedUpstream

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/(\d{8})/([a-z0-9-]+)/([a-z]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def signed_by(upstream: ScriptedUpstream, number: int = 0, *, method: str = "POST") -> tuple[str, str, str, list[str]]:
    """Access key, region, service and signed fields of the request of that number; asserts that its signature is right."""
    headers, target, body = upstream.headers[number], upstream.targets[number], upstream.raw[number]
    match = _AUTHORIZATION.fullmatch(headers["authorization"])
    assert match is not None, headers["authorization"]
    access_key_id, day, region, service, names, signature = match.groups()
    covered = {name: headers[name] for name in names.split(";") if name != "host"}
    assert covered["x-amz-date"].startswith(day)
    request = AWSRequest(method, f"http://{headers['host']}{target}", data=body, headers=covered)
    request.context["timestamp"] = covered["x-amz-date"]
    auth = SigV4Auth(Credentials(access_key_id, SECRET_ACCESS_KEY), service, region)  # type: ignore[no-untyped-call]
    text = auth.string_to_sign(request, auth.canonical_request(request))  # type: ignore[no-untyped-call]
    assert auth.signature(text, request) == signature  # type: ignore[no-untyped-call]
    return access_key_id, region, service, names.split(";")
