"""How the gateway logs in upstream, and what it makes of AWS turning its credentials away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from proxies.contract import UpstreamAuth
from proxies.egress_policy import parse_target
from proxies.llm.upstream_login import login_fields, signature_refusal
from proxies.transport.headers import Headers

AWS = UpstreamAuth(type="aws", region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE", value="secret")
ORIGIN = parse_target("https://bedrock-runtime.eu-west-1.amazonaws.com")


def answer(name: str, *, off: timedelta | None = None) -> Headers:
    fields = [("x-amzn-errortype", name)]
    if off is not None:
        fields.append(("date", format_datetime(datetime.now(UTC) + off, usegmt=True)))
    return Headers(fields)


@pytest.mark.parametrize(
    ("auth", "names"),
    [
        (UpstreamAuth(), []),
        (UpstreamAuth(type="bearer", value="k"), ["authorization"]),
        (UpstreamAuth(type="header", name="X-Key", value="k"), ["x-key"]),
        (AWS, ["x-amz-date", "authorization"]),
    ],
)
def test_each_kind_of_login_has_its_fields(auth: UpstreamAuth, names: list[str]) -> None:
    fields = login_fields(auth, ORIGIN, "POST", "/model/m/converse", [("content-type", "application/json")], b"{}")

    assert [name for name, _ in fields] == names


def test_LLM_BDR_1_what_others_may_change_is_not_signed() -> None:
    sent = [("user-agent", "x"), ("traceparent", "y"), ("accept", "z"), ("x-amzn-bedrock-trace", "ENABLED")]

    fields = dict(login_fields(AWS, ORIGIN, "POST", "/model/m/converse", sent, b"{}"))

    assert "SignedHeaders=host;x-amz-date;x-amzn-bedrock-trace," in fields["authorization"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("SignatureDoesNotMatch", "region"),
        ("UnrecognizedClientException", "active"),
        ("ExpiredTokenException:http://internal.example/", "temporary"),
    ],
)
def test_LLM_BDR_1_each_fault_has_its_remedy(name: str, word: str) -> None:
    refusal = signature_refusal(AWS, 403, answer(name, off=timedelta(seconds=20)))

    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.outcome) == (403, "upstream_signature_refused", "upstream_error")
    assert name.partition(":")[0] in refusal.message
    assert word in refusal.remediation


@pytest.mark.parametrize(("minutes", "words"), [(-12, "12 minutes ahead of"), (61, "61 minutes behind")])
def test_LLM_BDR_1_a_clock_that_is_off_is_named_as_the_cause(minutes: int, words: str) -> None:
    refusal = signature_refusal(AWS, 403, answer("InvalidSignatureException", off=timedelta(minutes=minutes)))

    assert refusal is not None
    assert words in refusal.message
    assert "time server" in refusal.remediation


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_date_that_cannot_be_read_says_nothing(date: str) -> None:
    refusal = signature_refusal(AWS, 403, Headers([("x-amzn-errortype", "SignatureDoesNotMatch"), ("date", date)]))

    assert refusal is not None
    assert "minutes" not in refusal.message


@pytest.mark.parametrize(
    ("auth", "status", "name"),
    [
        (AWS, 403, "AccessDeniedException"),
        (AWS, 200, "SignatureDoesNotMatch"),
        (AWS, 403, ""),
        (UpstreamAuth(type="bearer", value="k"), 403, "UnrecognizedClientException"),
    ],
)
def test_other_answers_are_no_fault_of_a_signature(auth: UpstreamAuth, status: int, name: str) -> None:
    assert signature_refusal(auth, status, answer(name)) is None
