"""Signatures for AWS: the published test vectors, and the same as botocore's for any request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from proxies.llm.aws_signature import AWSCredentials, signature_fields

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
HOST = ("Host", "example.amazonaws.com")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
DIGEST = ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e")
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)

# Of the test suite that AWS publishes for Signature Version 4: method, path, query, headers, body, session token, signature.
VECTORS: dict[str, tuple[str, str, str, list[tuple[str, str]], bytes, str, str]] = {
    "get-vanilla": (
        "GET", "/", "", [HOST], b"", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": (
        "POST", "/", "", [HOST], b"", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-utf8": (
        "GET", "/ሴ", "", [HOST], b"", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-unreserved": (
        "GET", f"/{UNRESERVED}", "", [HOST], b"", "",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-vanilla-query-order-key-case": (
        "GET", "/", "Param2=value2&Param1=value1", [HOST], b"", "",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-header-value-trim": (
        "GET", "/", "", [HOST, ("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')], b"", "",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-header-key-sort": (
        "POST", "/", "", [HOST, ("My-Header1", "value1")], b"", "",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-x-www-form-urlencoded": (
        "POST", "/", "", [FORM, HOST], b"Param1=value1", "",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded with the digest signed": (
        "POST", "/", "", [FORM, HOST, ("Content-Length", "13"), DIGEST], b"Param1=value1", "",
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
    "get-vanilla-with-session-token": (
        "GET", "/", "", [HOST], b"", TOKEN, "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS.values(), ids=list(VECTORS))
def test_LLM_BDR_1_a_signature_is_that_of_the_published_vector(vector: Any) -> None:
    method, path, query, headers, body, token, signature = vector
    credentials = AWSCredentials("AKIDEXAMPLE", SECRET, "us-east-1", token)

    fields = signature_fields(credentials, method, path, query, headers, body, at=AT, service="service")

    names = sorted(name.lower() for name, _ in [*headers, *fields] if name != "authorization")
    assert dict(fields) == {
        "x-amz-date": "20150830T123600Z",
        **({"x-amz-security-token": token} if token else {}),
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}",
    }


SEGMENT = st.text(min_size=1, max_size=20).map(lambda text: quote(text.strip("."), safe="") or "m")
PAIRS = st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(max_size=9)), max_size=4)
VALUES = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)


@given(
    segments=st.lists(SEGMENT, min_size=1, max_size=4),
    pairs=PAIRS,
    values=st.dictionaries(st.sampled_from(["content-type", "x-amzn-bedrock-trace", "x-amz-a"]), VALUES, max_size=3),
    body=st.binary(max_size=200),
    token=st.sampled_from(["", "a/token+of=aws"]),
)
def test_LLM_BDR_1_a_signature_is_that_of_botocore(
    segments: list[str], pairs: list[tuple[str, str]], values: dict[str, str], body: bytes, token: str
) -> None:
    path = "/" + "/".join(segments)
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    host = "bedrock-runtime.eu-west-1.amazonaws.com"
    url = f"https://{host}{path}" + (f"?{query}" if query else "")
    headers = {name: value for name, value in values.items() if value}
    request = AWSRequest("POST", url, data=body, headers=headers)
    request.context["timestamp"] = "20150830T123600Z"
    request.headers["X-Amz-Date"] = "20150830T123600Z"
    if token:
        request.headers["X-Amz-Security-Token"] = token
    theirs = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, token or None), "bedrock", "eu-west-1")  # type: ignore[no-untyped-call]
    text = theirs.string_to_sign(request, theirs.canonical_request(request))  # type: ignore[no-untyped-call]

    fields = signature_fields(
        AWSCredentials("AKIDEXAMPLE", SECRET, "eu-west-1", token),
        "POST",
        path,
        query,
        [("host", host), *headers.items()],
        body,
        at=AT,
        service="bedrock",
    )

    signature = theirs.signature(text, request)  # type: ignore[no-untyped-call]
    assert dict(fields)["authorization"].endswith(f"Signature={signature}")


def test_secrets_are_not_shown() -> None:
    shown = repr(AWSCredentials("AKIDEXAMPLE", SECRET, "us-east-1", TOKEN))

    assert "AKIDEXAMPLE" in shown
    assert SECRET not in shown
    assert TOKEN not in shown
