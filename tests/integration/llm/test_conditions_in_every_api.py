"""Every kind of condition in every API, over the wire: the same conversation is refused, or passes, whoever words it."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import pytest

from rules.engine import Ruleset
from tests.integration.policy_documents import phrase_rules
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import ScriptedUpstream

APIS = ("chat", "responses", "anthropic", "gemini")
ARGUMENTS = {"path": "/etc/shadow", "lines": [1, 7]}
HEADERS = {"anthropic-version": "2023-06-01", "x-region": "EU-west"}


@cache
def rules() -> Ruleset:
    return phrase_rules()


def conversation(api: str) -> tuple[str, dict[str, Any]]:
    """The address and body of one conversation: a set-up, a question, a call of a tool, its result, a further question."""
    ask, result, more = "List the plums.", "The shadow file says pears.", "And the cherries?"
    if api == "chat":
        call = {
            "id": "c",
            "type": "function",
            "function": {"name": "read_file", "arguments": '{"path": "/etc/shadow",'},
        }
        call["function"]["arguments"] += ' "lines": [1, 7]}'  # type: ignore[index]
        messages = [
            {"role": "system", "content": "Be brief about figs."},
            {"role": "user", "content": ask},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": result},
            {"role": "user", "content": more},
        ]
        return "/v1/chat/completions", {"model": "gpt-4o-mini", "messages": messages}
    if api == "responses":
        items: list[dict[str, Any]] = [
            {"role": "user", "content": ask},
            {"type": "function_call", "call_id": "c", "name": "read_file", "arguments": '{"path": "/etc/shadow",'},
            {"type": "function_call_output", "call_id": "c", "output": result},
            {"role": "user", "content": more},
        ]
        items[1]["arguments"] += ' "lines": [1, 7]}'
        return "/v1/responses", {"model": "gpt-4o-mini", "instructions": "Be brief about figs.", "input": items}
    if api == "anthropic":
        blocks = [
            {"role": "user", "content": ask},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "read_file", "input": ARGUMENTS}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": result},
                    {"type": "text", "text": more},
                ],
            },
        ]
        body = {"model": "gpt-4o-mini", "max_tokens": 9, "system": "Be brief about figs.", "messages": blocks}
        return "/v1/messages", body
    contents = [
        {"role": "user", "parts": [{"text": ask}]},
        {"role": "model", "parts": [{"functionCall": {"name": "read_file", "args": ARGUMENTS}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "read_file", "response": {"text": result}}}, {"text": more}],
        },
    ]
    system = {"parts": [{"text": "Be brief about figs."}]}
    return "/v1beta/models/gpt-4o-mini:generateContent", {"contents": contents, "systemInstruction": system}


MATCHES: dict[str, dict[str, Any]] = {
    "model": {"model": ["o3", "GPT-4*"]},
    "tool": {"tool_name": "read_*"},
    "arguments": {"tool_name": "read_file", "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}]},
    "nested arguments": {
        "tool_arguments": [{"path": "$.lines[-1]", "gt": 6}, {"path": "$..path", "in": ["/etc/shadow"]}]
    },
    "content": {"message_content": {"pattern": "cherries"}},
    "content of the user": {"message_content": {"pattern": "plums", "roles": ["user"]}},
    "content of the system": {"message_content": {"pattern": "figs", "roles": ["system"]}},
    "content of a tool": {"message_content": {"pattern": "pears", "roles": ["tool"]}},
    "content of the assistant": {"message_content": {"pattern": "shadow", "roles": ["assistant"]}},
    "message count": {"message_count": {"gte": 3, "lt": 6}},
    "users": {"role_count": {"user": {"eq": 2}}},
    "tools": {"role_count": {"tool": {"eq": 1}}},
    "assistants": {"role_count": {"assistant": {"eq": 1}}},
    "systems": {"role_count": {"system": {"eq": 1}}},
    "tokens": {"token_estimate": {"gt": 20, "lt": 100}},
    "address": {"ip": ["127.0.0.0/8"]},
    "header": {"header": {"X-Region": "eu-*"}},
    "time": {"schedule": {"cron": "* * * * *", "time_zone": "Asia/Tokyo"}},
}
MISSES: dict[str, dict[str, Any]] = {
    "model": {"model": "o3*"},
    "tool": {"tool_name": "write_*"},
    "arguments": {"tool_arguments": [{"path": "$.path", "matches": "^/tmp/"}]},
    "content of the user": {"message_content": {"pattern": "figs|pears|shadow", "roles": ["user"]}},
    "content of the system": {"message_content": {"pattern": "plums|pears|cherries", "roles": ["system"]}},
    "content of a tool": {"message_content": {"pattern": "plums|figs|cherries", "roles": ["tool"]}},
    "message count": {"message_count": {"gt": 5}},
    "tools": {"role_count": {"tool": {"gt": 1}}},
    "header": {"header": {"X-Region": "us-*"}},
    "time": {"schedule": {"cron": "* * * * *", "outside": True}},
    "method": {"method": "*"},
    "client": {"client": "*"},
}


@pytest.mark.parametrize("api", APIS)
async def test_AG_PE_1_2_7_a_condition_holds_in_every_api(upstream: ScriptedUpstream, api: str) -> None:
    policies = [_policy(name, match) for name, match in MATCHES.items()]
    assert await _refused_by(upstream, api, policies) == set(MATCHES)


@pytest.mark.parametrize("api", APIS)
async def test_AG_PE_1_2_7_a_condition_that_does_not_hold_does_so_in_no_api(
    upstream: ScriptedUpstream, api: str
) -> None:
    policies = [_policy(name, match) for name, match in MISSES.items()]
    assert await _refused_by(upstream, api, policies) == set()


def _policy(name: str, match: dict[str, Any]) -> dict[str, Any]:
    rule = {"id": "r", "action": "alert", "match": match}
    return {"name": name.replace(" ", "-"), "title": name, "rules": [rule]}


async def _refused_by(upstream: ScriptedUpstream, api: str, policies: list[dict[str, Any]]) -> set[str]:
    """The titles of those policies whose rule held: all are asked about one call."""
    path, body = conversation(api)
    async with (
        running_proxy(type="llm", target_url=upstream.url, ruleset=rules(), policies=policies) as proxy,
        httpx.AsyncClient(timeout=20, headers=HEADERS) as client,
    ):
        await client.post(proxy.url + path, json=body)
        [record] = await proxy.wait_for_records(1)
    held = {finding.pack.removeprefix("own-") for finding in record.findings if finding.rule_id == "r"}
    return {policy["title"] for policy in policies if policy["name"] in held}
