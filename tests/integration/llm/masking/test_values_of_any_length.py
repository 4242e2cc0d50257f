"""Private keys and tokens of any length, whole and in streams, with the shipped rules."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest

from rules.policy import load_policies
from tests.llm_dialects import DIALECTS, call, said
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import Reply, anthropic_body, anthropic_stream, chat_body, running_scripted_upstream

LINE = 64
PIECE = 24


def noise(size: int) -> bytes:
    """Bytes without a pattern, the same in every run."""
    return b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(size // 32 + 1))[:size]


def in_lines(body: str, *, indent: str = "", end: str = "\n") -> str:
    lines = [f"{indent}{body[at : at + LINE]}" for at in range(0, len(body), LINE)]
    return end.join((f"{indent}-----BEGIN RSA PRIVATE " + "KEY-----", *lines, f"{indent}-----END RSA PRIVATE KEY-----"))


def token(claims: int) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    head = {"alg": "RS256", "typ": "JWT"}
    body = {"iss": "https://login.example.org", "groups": [noise(32 * n + 40)[-20:].hex() for n in range(claims)]}
    return ".".join((part(json.dumps(head).encode()), part(json.dumps(body).encode()), part(noise(256))))


BODY = base64.b64encode(noise(2_400)).decode()
HUGE = base64.b64encode(noise(4_700)).decode()
TOKEN = token(60)
LONG = {
    "key of 4096 bits": (BODY, in_lines(BODY)),
    "key of 8192 bits": (HUGE, in_lines(HUGE)),
    "key in a manifest": (BODY, in_lines(BODY, indent="      ")),
    "key in escapes": (BODY, in_lines(BODY, end="\\n")),
    "key in a program": (BODY, in_lines(BODY, indent='    "', end='\\n"\n')),
    "token": (TOKEN, TOKEN),
}


def left_over(body: str, text: str) -> list[str]:
    """What of a value stands in a text."""
    pieces = [body[at : at + PIECE] for at in range(0, len(body) - PIECE, PIECE)]
    plain = text.replace("\\n", "\n").translate(str.maketrans("", "", '\n "'))
    return [piece for piece in pieces if piece in plain]


def policy() -> dict[str, Any]:
    return dict(msgspec.to_builtins(load_policies()["llm-data-redaction"]))


@pytest.mark.parametrize("form", LONG)
async def test_RED_STR_6_a_value_of_any_length_is_masked_whole(form: str) -> None:
    body, value = LONG[form]
    text = f"Look at this:\n{value}\nThanks, and have a nice day."
    chat, claude = DIALECTS["chat"], DIALECTS["anthropic"]
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(type="llm", target_url=upstream.url, policies=[policy()]) as proxy,
    ):
        upstream.reply = lambda _: chat_body(text)
        whole = await call(proxy.url, chat, text, stream=False)
        answers = [chat.text(json.loads(whole.raw))]
        for dialect, size in ((chat, 50), (chat, 9_000), (claude, 90)):
            upstream.reply = lambda _, dialect=dialect, size=size: dialect.stream(text, size)
            answers.append(said(dialect, (await call(proxy.url, dialect, "hi", stream=True)).raw))
        records = await proxy.wait_for_records(4)

    assert left_over(body, upstream.seen) == []
    assert [left_over(body, answer) for answer in answers] == [[]] * 4
    assert len(set(answers)) == 1, "A stream says what the whole answer says."
    assert answers[0].endswith("\nThanks, and have a nice day.")
    assert left_over(body, msgspec.json.encode(records).decode()) == []
    assert [sum(one.count for one in record.redactions if one.direction == "response") for record in records] == [1] * 4


async def test_RED_STR_6_a_long_key_in_the_arguments_of_a_call_is_masked_whole() -> None:
    block = {"type": "tool_use", "id": "t", "name": "deploy", "input": {"key": in_lines(BODY), "host": "a"}}
    answers = []
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(type="llm", target_url=upstream.url, policies=[policy()]) as proxy,
    ):
        for reply in (anthropic_body(block), anthropic_stream(block, size=50, split="event")):
            upstream.reply = lambda _, reply=reply: reply
            answer = await call(proxy.url, DIALECTS["anthropic"], "hi", stream=bool(reply.events))
            answers.append(_input(reply, answer.raw))

    assert left_over(BODY, json.dumps(answers)) == []
    assert answers[0] == answers[1]
    assert answers[0]["host"] == "a"


def _input(reply: Reply, raw: bytes) -> Any:
    if not reply.events:
        return json.loads(raw)["content"][0]["input"]
    events = DIALECTS["anthropic"].events(raw)
    return json.loads("".join(event["delta"].get("partial_json", "") for event in events if "delta" in event))
