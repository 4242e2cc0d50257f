"""Upstreams behind credentials of AWS: what is acceptable, what is stored and kept, what the workers get, and the form."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.fleet import aws_credentials
from app.fleet.remedies import remedy
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import Tab

ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLE//token=="
TARGET = "https://bedrock-runtime.eu-west-1.amazonaws.com"
AUTH = {"type": "aws", "access_key_id": ID, "value": SECRET}
PROXY = {"name": "Bedrock", "type": "llm", "target_url": TARGET, "port": 4000}


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


async def create(console: Console, auth: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = await send(console, "POST", "proxies", PROXY | {"upstream_auth": auth} | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (TARGET, "eu-west-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/", "us-gov-west-1"),
        ("https://BEDROCK-runtime.us-east-1.api.aws", "us-east-1"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://vpce-0a1b-2c3d.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com.evil.example", ""),
        ("https://gateway.example.org", ""),
        ("https://bedrock-runtime.nowhere.amazonaws.com", ""),
        ("no url", ""),
    ],
)
def test_the_name_of_an_endpoint_says_its_region(url: str, region: str) -> None:
    assert aws_credentials.region_of(url) == region


async def test_LLM_BDR_1_credentials_are_sealed_and_reach_the_workers(
    console: Console, fleet: MemoryFleet, tmp_path: Path
) -> None:
    proxy = await create(console, AUTH | {"session_token": TOKEN})

    assert proxy["upstream_auth"] == {
        "type": "aws",
        "name": "",
        "reference": None,
        "set": True,
        "region": "",
        "access_key_id": ID,
        "session_token_reference": None,
        "session_token_set": True,
    }
    auth = fleet.configuration.proxies[0].upstream_auth
    assert (auth.type, auth.region, auth.access_key_id) == ("aws", "eu-west-1", ID)
    assert (auth.value, auth.session_token) == (SECRET, TOKEN)
    for path in ("proxies", f"proxies/{proxy['id']}", f"proxies/{proxy['id']}/status", "audit"):
        answer = await send(console, "GET", path)
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert TOKEN not in answer.text
    for file in (tmp_path / "data").glob("ostiary.db*"):
        assert SECRET.encode() not in file.read_bytes()
        assert TOKEN.encode() not in file.read_bytes()
    assert SECRET not in repr(fleet.configuration)
    assert TOKEN not in repr(fleet.configuration)


async def test_LLM_BDR_1_every_part_may_be_a_reference(
    console: Console, fleet: MemoryFleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    references = {
        "access_key_id": "env:AWS_ACCESS_KEY_ID",
        "value": "env:AWS_SECRET_ACCESS_KEY",
        "session_token": f"file:{tmp_path}/token",
    }
    proxy = await create(console, AUTH | references | {"region": "eu-central-1"}, target_url="https://gw.example.org")

    shown = proxy["upstream_auth"]
    assert (shown["access_key_id"], shown["reference"]) == ("env:AWS_ACCESS_KEY_ID", "env:AWS_SECRET_ACCESS_KEY")
    assert shown["session_token_reference"] == references["session_token"]
    auth = fleet.configuration.proxies[0].upstream_auth
    assert (auth.access_key_id, auth.value, auth.session_token, auth.region) == (ID, SECRET, TOKEN, "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "no-id")
    await fleet.refresh()
    (reason,) = fleet.configuration.broken.values()
    assert "env:AWS_ACCESS_KEY_ID" in reason
    assert "no-id" not in reason
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    await fleet.refresh()
    assert "is missing" in next(iter(fleet.configuration.broken.values()))


@pytest.mark.parametrize(
    ("auth", "changes", "field", "word"),
    [
        ({"value": None}, {}, "value", "secret access key"),
        ({"access_key_id": ""}, {}, "access_key_id", "access key ID"),
        ({"access_key_id": SECRET}, {}, "access_key_id", "capital letters"),
        ({"access_key_id": "env:"}, {}, "access_key_id", "env:"),
        ({"access_key_id": "ASIAIOSFODNN7EXAMPLE"}, {}, "session_token", "temporary"),
        ({"session_token": "two\nlines"}, {}, "session_token", "visible"),
        ({"region": "Ireland"}, {}, "region", "eu-west-1"),
        ({"region": "us-east-1"}, {}, "region", "The target is in eu-west-1"),
        ({}, {"target_url": "https://gw.example.org"}, "region", "Give the region"),
        ({}, {"type": "mcp"}, "type", "llm"),
        ({"type": "bearer"}, {}, "access_key_id", "Only the type aws"),
        ({"type": "bearer", "access_key_id": "", "region": "eu-west-1"}, {}, "region", "Only the type aws"),
    ],
)
async def test_LLM_BDR_1_what_is_missing_or_does_not_fit_is_named(
    console: Console, auth: dict[str, Any], changes: dict[str, Any], field: str, word: str
) -> None:
    answer = await send(console, "POST", "proxies", PROXY | {"upstream_auth": AUTH | auth} | changes)

    assert answer.status_code == 422, answer.text
    assert word in answer.json()["fields"][f"upstream_auth.{field}"]
    assert SECRET not in answer.text


async def test_LLM_BDR_1_key_and_session_token_are_kept_and_replaced_together(
    console: Console, fleet: MemoryFleet
) -> None:
    proxy = await create(console, AUTH | {"session_token": TOKEN})
    path = f"proxies/{proxy['id']}"

    async def change(**auth: Any) -> httpx.Response:
        return await send(console, "PATCH", path, {"upstream_auth": {"type": "aws", "access_key_id": ID} | auth})

    kept = await change(region="eu-west-1")
    assert kept.json()["data"]["upstream_auth"]["session_token_set"] is True
    auth = fleet.configuration.proxies[0].upstream_auth
    assert (auth.value, auth.session_token, auth.region) == (SECRET, TOKEN, "eu-west-1")
    for wrong in ({"access_key_id": "AKIAOTHEROTHEROTHER0"}, {"session_token": "another"}):
        assert "upstream_auth.value" in (await change(**wrong)).json()["fields"]
    other_type = await send(console, "PATCH", path, {"upstream_auth": {"type": "bearer"}})
    assert "upstream_auth.value" in other_type.json()["fields"]
    moved = await send(console, "PATCH", path, {"target_url": "https://bedrock-runtime.us-east-1.amazonaws.com"})
    assert set(moved.json()["fields"]) == {"upstream_auth.region", "upstream_auth.value"}
    replaced = await change(value="another-secret-access-key")
    assert replaced.json()["data"]["upstream_auth"]["session_token_set"] is False
    auth = fleet.configuration.proxies[0].upstream_auth
    assert (auth.value, auth.session_token) == ("another-secret-access-key", "")
    bearer = await send(console, "PATCH", path, {"upstream_auth": {"type": "bearer", "value": "bedrock-api-key"}})
    assert bearer.json()["data"]["upstream_auth"]["access_key_id"] == ""
    assert "upstream_auth.value" in (await change()).json()["fields"]


async def test_LLM_BDR_1_without_a_region_a_proxy_is_not_served_and_says_so(
    console: Console, fleet: MemoryFleet, tmp_path: Path
) -> None:
    proxy = await create(console, AUTH)
    with sqlite3.connect(tmp_path / "data" / "ostiary.db") as database:
        database.execute("UPDATE proxies SET target_url = 'https://gw.example.org'")
    await fleet.refresh()

    reason = fleet.configuration.broken[proxy["id"]]
    assert "region" in reason
    assert "Login at the target" in remedy(reason)


async def test_LLM_BDR_1_the_form_takes_credentials_and_shows_only_what_is_no_secret(
    console: Console, tab: Tab, fleet: MemoryFleet
) -> None:
    form = {
        "type": "llm",
        "name": "Bedrock",
        "target_url": TARGET,
        "host": "127.0.0.1",
        "port": "4000",
        "auth_type": "aws",
        "auth_access_key_id": ID,
        "auth_session_token": TOKEN,
        "enforcement": "enforce",
        "require_auth": "on",
    }
    refused = await tab.post("/proxies/new", form)
    assert refused.status_code == 422
    assert 'id="auth_secret_access_key-error"' in refused.text
    assert ID in refused.text
    assert TOKEN not in refused.text
    made = await tab.post("/proxies/new", form | {"auth_secret_access_key": SECRET})
    assert made.status_code == 303, made.text
    proxy_id = made.headers["location"].rpartition("/")[2]
    page = (await tab.get(f"/proxies/{proxy_id}?tab=config")).text
    assert ID in page
    assert SECRET not in page
    assert TOKEN not in page
    saved = await tab.post(f"/proxies/{proxy_id}", form | {"auth_session_token": "", "auth_region": "eu-west-1"})
    assert saved.status_code == 303, saved.text
    auth = fleet.configuration.proxies[0].upstream_auth
    assert (auth.value, auth.session_token, auth.region) == (SECRET, TOKEN, "eu-west-1")
