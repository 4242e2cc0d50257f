"""A proxy before Bedrock, the same over TLS, and the client of the AWS SDK for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxies.transport.tls import listener_context
from tests.aws_client import AWS
from tests.certificates import Authority
from tests.masking_calls import CLIENT_KEY
from tests.masking_rules import masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import ScriptedUpstream


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        upstream_bearer="bedrock-api-key-for-tests",
        ruleset=masking_ruleset(),
    ) as running:
        yield running


@pytest.fixture
async def tls_proxy(upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    issued = Authority(tmp_path).issue("127.0.0.1")
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        ruleset=masking_ruleset(),
        tls=listener_context(issued.cert_path, issued.key_path),
    ) as running:
        yield running


@pytest.fixture
def aws(tls_proxy: RunningProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AWS]:
    """As the documents say: the Ostiary key in the variable for Bedrock's API keys."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", CLIENT_KEY)
    with closing(AWS(tls_proxy.url, str(tmp_path / "ca.pem"))) as client:
        yield client
