"""An upstream that says what a test lets it say, and the official clients of the `proxy` that a file or folder has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from tests.masking_calls import CLIENT_KEY
from tests.proxy_harness import RunningProxy
from tests.scripted_upstream import ScriptedUpstream, running_scripted_upstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with running_scripted_upstream() as running:
        yield running


@pytest.fixture
async def openai_client(proxy: RunningProxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(proxy: RunningProxy) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client
