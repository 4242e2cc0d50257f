"""A proxy with the masking rules before a provider of the Realtime API, and the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from tests.masking_calls import CLIENT_KEY, OTHER_KEY
from tests.masking_rules import masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.realtime_provider import Provider, running_provider

UPSTREAM_KEY = "sk-upstream-" + "u" * 30


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
async def proxy(provider: Provider) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm",
        target_url=provider.url,
        client_key=CLIENT_KEY,
        other_keys=[OTHER_KEY],
        upstream_bearer=UPSTREAM_KEY,
        ruleset=masking_ruleset(),
    ) as running:
        yield running


@pytest.fixture
def client(openai_client: openai.AsyncOpenAI) -> openai.AsyncOpenAI:
    return openai_client
