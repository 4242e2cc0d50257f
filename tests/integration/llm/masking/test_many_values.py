"""As many values as a text may hold are masked, all of them; with more it does not pass. Never some of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.masking_calls import CLIENT_KEY, asked, post, post_raw, send
from tests.masking_rules import masking_rule
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import chat_body, chat_stream
from tests.unit.rules.small_packs import pack, ruleset

TOO_MANY = 5_000
CHAT = "/v1/chat/completions"


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def lines(count: int, form: str = "u{}@example.com") -> str:
    return "\n".join(form.format(number) for number in range(count))


async def test_RED_STR_7_a_text_with_more_values_than_can_be_masked_does_not_pass(upstream, proxy) -> None:
    upstream.reply = lambda body: chat_body("ok")

    answer = await send(proxy, CHAT, chat(lines(TOO_MANY + 100)))

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "masking_failed")
    assert "5,000" in answer.json()["error"]["message"]
    assert "smaller" in answer.json()["error"]["remediation"]
    assert upstream.bodies == []


async def test_RED_STR_7_an_answer_with_more_values_than_can_be_masked_does_not_pass(upstream, proxy) -> None:
    upstream.reply = lambda body: chat_body(lines(TOO_MANY + 100))
    answer = await send(proxy, CHAT, chat("hello"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "masking_failed")

    upstream.reply = lambda body: chat_stream(lines(TOO_MANY + 100), size=200, split="event")
    raw = await post_raw(proxy, CHAT, chat("hello", stream=True), complete=False)
    assert "@example.com" not in raw
    assert "masking_failed" in raw


ADDRESS = masking_rule(
    "PII-EMAIL",
    r"\bu[0-9]{1,9}@example\.com\b",
    "pii/email",
    views=["raw", "normalized", "decoded"],
    capture={"group": 0, "reversible": True},
)


@pytest.mark.parametrize("form", ["u{}@exam\u200bple.com", "u{}%40example.com"])
async def test_RED_STR_12_hundreds_of_disguised_values_are_masked(upstream, form: str) -> None:
    """What only another view of the text shows is a value like any other."""
    upstream.reply = lambda body: chat_body("ok")
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=ruleset(pack("views", ADDRESS))
    ) as proxy:
        await post(proxy, CHAT, chat(lines(600, form)))

    sent = asked(upstream.bodies[0])
    assert (sent.count("@"), sent.count("%40")) == (0, 0)
    assert sent.count("[EMAIL_") == 600


PLAIN = masking_rule("T-EMPLOYEE", r"\bEMP-[0-9]{6}\b", "test/employee")
ALERTING = masking_rule("T-EMPLOYEE", r"\bEMP-[0-9]{6}\b", "test/employee", action="alert")
REDACTING: dict[str, Any] = {"name": "own", "packs": ["plain"], "overrides": [{"rules": "T-*", "action": "redact"}]}


@pytest.mark.parametrize(("rule", "policies"), [(PLAIN, []), (ALERTING, [REDACTING])], ids=["rule", "override"])
async def test_AG_PE_8_every_value_of_any_rule_that_redacts_is_masked(
    upstream, rule: dict[str, Any], policies: list[dict[str, Any]]
) -> None:
    """A rule whose category says nothing about secrets is not one of few hits, once it masks."""
    rules = ruleset(pack("plain", rule))
    upstream.reply = lambda body: chat_body(lines(300, "EMP-{:06d}"))
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=rules, policies=policies
    ) as proxy:
        answer = await post(proxy, CHAT, chat(lines(300, "EMP-{:06d}")))
        upstream.reply = lambda body: chat_stream(lines(300, "EMP-{:06d}"), size=50, split="event")
        raw = await post_raw(proxy, CHAT, chat("hello", stream=True))

    assert "EMP-" not in asked(upstream.bodies[0])
    assert "EMP-" not in answer["choices"][0]["message"]["content"]
    assert "EMP-" not in raw


async def test_AG_PE_8_a_condition_that_redacts_masks_all_that_it_finds(upstream) -> None:
    condition = {"id": "staff", "action": "redact", "match": {"message_content": {"pattern": "EMP-[0-9]{6}"}}}
    upstream.reply = lambda body: chat_body("ok")
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        ruleset=ruleset(pack("plain", ALERTING)),
        policies=[{"name": "own", "rules": [condition]}],
    ) as proxy:
        await post(proxy, CHAT, chat(lines(2_000, "EMP-{:06d}")))
        refused = await send(proxy, CHAT, chat(lines(TOO_MANY + 1, "EMP-{:06d}")))

    assert "EMP-" not in asked(upstream.bodies[0])
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "masking_failed")
    assert len(upstream.bodies) == 1


async def test_AG_PE_9_what_only_logs_passes_however_much_is_found(upstream) -> None:
    upstream.reply = lambda body: chat_body("ok")
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        ruleset=ruleset(pack("plain", PLAIN)),
        policies=[{"name": "own", "packs": ["plain"], "enforcement": "log_only"}],
    ) as proxy:
        await post(proxy, CHAT, chat(lines(TOO_MANY + 1, "EMP-{:06d}")))

    assert asked(upstream.bodies[0]).count("EMP-") == TOO_MANY + 1


@pytest.mark.parametrize("form", ["https://a.example/?to=u{}%40example.com", "u{}&#64;example.com"])
@pytest.mark.parametrize("stream", [False, True])
async def test_RED_STR_12_values_that_only_decoding_shows_are_all_masked(upstream, form: str, stream: bool) -> None:
    """A text has few decoded views, and may hold more values than they show."""
    upstream.reply = lambda body: chat_body(lines(2_000, form)) if not stream else chat_stream("ok", split="event")
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=ruleset(pack("views", ADDRESS))
    ) as proxy:
        answer = await post_raw(proxy, CHAT, chat(lines(3_000, form), stream=stream))
        (record,) = await proxy.wait_for_records(1)

    sent = asked(upstream.bodies[0])
    assert sent.count("[EMAIL_") == 3_000
    assert "example.com" not in sent
    if not stream:
        assert answer.count("[REDACTED_EMAIL]") == 2_000
    assert sum(one.count for one in record.redactions if one.direction == "request") == 3_000


async def test_RED_STR_12_encoded_values_in_very_many_messages_are_all_masked(upstream) -> None:
    upstream.reply = lambda body: chat_body("ok")
    messages = [
        {"role": "user", "content": f"see https://a.example/?to=u{number}%40example.com"} for number in range(500)
    ]
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=ruleset(pack("views", ADDRESS))
    ) as proxy:
        await post(proxy, CHAT, {"model": "m", "messages": messages})
    assert "example.com" not in str(upstream.bodies)


@pytest.mark.parametrize(
    ("texts", "of_each", "form"),
    [(60, 400, "u{}@example.com"), (3, 4_000, "u{}@example.com"), (1, 30_000, "u{}%40example.com")],
    ids=["found", "distinct", "encoded"],
)
async def test_RED_STR_7_a_message_with_more_values_than_can_be_masked_does_not_pass(
    upstream, texts: int, of_each: int, form: str
) -> None:
    """However they are spread over its texts, with the same answer."""
    parts = [
        {"type": "text", "text": "\n".join(form.format(part * of_each + number) for number in range(of_each))}
        for part in range(texts)
    ]
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=ruleset(pack("views", ADDRESS))
    ) as proxy:
        refused = await send(proxy, CHAT, {"model": "m", "messages": [{"role": "user", "content": parts}]})

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "masking_failed")
    assert "smaller" in refused.json()["error"]["remediation"]
    assert upstream.bodies == []
