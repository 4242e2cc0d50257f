"""Without scripts a page asks before something is taken away; it names the thing and says whether that can be undone."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from app import clock
from app.access.models import ApiKey
from app.database.base import DEFAULT_TENANT
from app.http.envelope import MAX_LIMIT
from app.undo import UNDO_WORDS
from tests.support.console import Console
from tests.support.tab import Tab, make_proxy

POLICY = {"name": "ours", "title": "Ours", "type": "llm", "packs": ["prompt-injection"]}


async def made(console: Console, path: str, body: dict[str, object]) -> dict[str, str]:
    answer = await console.client.post(f"/api/v1/{path}", headers=console.admin, json=body)
    assert answer.status_code == 201, answer.text
    data: dict[str, str] = answer.json()["data"]
    return data


async def address(console: Console, kind: str) -> str:
    match kind:
        case "proxy":
            return f"/proxies/{await make_proxy(console)}/delete"
        case "canary":
            created = await console.client.post("/api/v1/canaries", headers=console.admin, json={"name": "bait"})
            return f"/canaries/{created.json()['data']['canary']['id']}/delete"
        case "guideline":
            kept = await made(console, "guidelines", {"name": "house rules", "content": "Be kind."})
            return f"/guidelines/{kept['id']}/delete"
        case "program":
            allowed = await made(console, "launch-programs", {"program": "npx"})
            return f"/settings/launch-programs/{allowed['id']}/remove"
        case "policy":
            await made(console, "policies", {"policy": POLICY})
            return "/policies/ours/delete"
    await made(console, "policies", {"policy": POLICY})
    return "/policies/ours/discard"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("proxy", "Delete openai?"),
        ("canary", "Delete canary “bait”?"),
        ("guideline", "Delete guideline “house rules”?"),
        ("program", "Remove npx from the list?"),
        ("policy", "Delete the policy ours?"),
        ("draft", "Discard the draft of ours?"),
    ],
)
async def test_the_page_that_asks_names_the_thing_and_the_way_back(
    console: Console, tab: Tab, kind: str, name: str
) -> None:
    url = await address(console, kind)
    asked = await tab.post(url)
    assert asked.status_code == 200
    assert name in asked.text
    assert UNDO_WORDS in asked.text
    assert f'action="{url}"' in asked.text


async def test_the_dialogs_of_a_policy_say_that_it_can_be_undone_as_well(console: Console, tab: Tab) -> None:
    await address(console, "draft")
    for page, question in (("", "Delete the policy ours?"), ("?tab=builder", "Discard the draft of ours?")):
        asked = (await tab.get(f"/policies/ours{page}")).text.partition(f'data-confirm="{question}"')[2]
        assert UNDO_WORDS in asked.partition(">")[0]


async def test_the_oldest_of_many_keys_can_be_revoked_as_well(console: Console, tab: Tab) -> None:
    oldest = (await made(console, "api-keys", {"name": "the first"}))["api_key"]["id"]  # type: ignore[index]
    now = clock.utcnow()
    rows = [
        {
            "id": f"key_{number}",
            "tenant_id": DEFAULT_TENANT,
            "name": f"key {number}",
            "digest": f"{number:064x}",
            "prefix": "ost_",
            "last4": "abcd",
            "proxy_ids": None,
            "policy_names": [],
            "created_at": now,
            "created_by": "admin",
        }
        for number in range(MAX_LIMIT)
    ]
    async with console.app.state.database.writer() as session:
        await session.execute(insert(ApiKey), rows)
    assert "Revoke key “the first”?" in (await tab.post(f"/access/{oldest}/revoke")).text
