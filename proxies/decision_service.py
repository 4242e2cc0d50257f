"""Asks a service in the manner of Open Policy Agent whether a call is denied: `POST {url}/v1/data/gateway/deny` (SLG-POL-1).

The answer is `{"result": [reasons]}`. A document without `result` means that the service has no such policy, which is no
permission: whatever is not an answer raises `NoDecision`, and the step decides by the fail mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from proxies.contract import DecisionService, Limits
from proxies.egress_policy import parse_target
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport import tls
from proxies.transport.errors import UpstreamError
from proxies.transport.pool import UpstreamPool

PATH: Final = "/v1/data/gateway/deny"
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 256
MAX_REASONS: Final = 10
MAX_REASON_CHARACTERS: Final = 300
_HEADERS: Final = [("content-type", "application/json"), ("accept", "application/json")]


class NoDecision(Exception):
    """The service gave no answer that could be used; the reason is for the operator."""


class DecisionClient:
    """The connections to the service, shared by all calls of a proxy."""

    def __init__(self, service: DecisionService) -> None:
        """Raises OSError or ValueError for a service that cannot be reached in principle."""
        self._timeout_seconds = service.timeout_seconds
        self.fail_open = service.fail_open
        limits = Limits(
            connect_timeout_seconds=service.timeout_seconds,
            first_byte_timeout_seconds=service.timeout_seconds,
            idle_timeout_seconds=service.timeout_seconds,
            total_timeout_seconds=service.timeout_seconds,
            max_upstream_connections=MAX_CONNECTIONS,
        )
        context = tls.upstream_context() if parse_target(service.url).is_tls else None
        self._pool = UpstreamPool(service.url, limits, context, proxy=service.upstream_proxy)

    def __repr__(self) -> str:
        return f"<DecisionClient {self._pool.origin.authority}>"

    async def deny_reasons(self, facts: Mapping[str, Any]) -> list[str]:
        """Why the call is denied; nothing where it is not. Raises `NoDecision`, at the latest after the timeout."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # The question changes nothing, so it may be put again where a kept connection turns out to be dead.
                response = await self._pool.request("POST", PATH, _HEADERS, dump({"input": facts}), idempotent=True)
                try:
                    data = await response.read(MAX_ANSWER_BYTES)
                finally:
                    response.close()
        except TimeoutError:
            raise NoDecision(f"no answer within {self._timeout_seconds:g} seconds") from None
        except UpstreamError as error:
            raise NoDecision(error.detail or error.message) from None
        if response.status != 200:
            raise NoDecision(f"it answered with status {response.status}")
        return _reasons(data)

    async def aclose(self) -> None:
        """Close what is idle."""
        await self._pool.aclose()


def _reasons(data: bytes) -> list[str]:
    """The reasons in an answer: texts, objects with `msg` or `reason`, or a plain true."""
    try:
        document = parse(data)
    except JSONRefused as error:
        raise NoDecision(f"its answer is not usable. {error}") from None
    result = document.get("result") if type(document) is dict else None
    if type(result) is bool:
        return ["Denied."] if result else []
    if type(result) is not list:
        raise NoDecision("its answer has no list of reasons; is the package gateway with a rule deny loaded?")
    reasons = [_reason(item) for item in result[:MAX_REASONS]]
    return [reason[:MAX_REASON_CHARACTERS] for reason in reasons]


def _reason(item: Any) -> str:
    if type(item) is dict:
        item = item.get("msg", item.get("reason"))
    if type(item) is not str:
        raise NoDecision("one of its reasons is not a text")
    return "".join(character if character.isprintable() else " " for character in item).strip() or "Denied."
