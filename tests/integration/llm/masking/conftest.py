"""A proxy with the masking rules."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.masking_calls import CLIENT_KEY, OTHER_KEY
from tests.masking_rules import masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import ScriptedUpstream


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        other_keys=[OTHER_KEY],
        ruleset=masking_ruleset(),
    ) as running:
        yield running
