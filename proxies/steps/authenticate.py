"""Who calls. The credential is looked for in `X-API-Key` (Gemini clients: `X-Goog-Api-Key`), then `Authorization: Bearer`,
then `Authorization: ApiKey`, then `Api-Key` (Azure clients). A browser that opens a WebSocket to an LLM API gives its key as a
sub-protocol. A client that opens one to an MCP server may give a one-time ticket instead, and a call that another connection
carries is known by the key of that connection.

It is never read from the query, where it would end up in logs (ADM-17), and never forwarded (G-07).
"""

from __future__ import annotations

from proxies.carried import CarriedRequest
from proxies.contract import APIKey
from proxies.exchange import Exchange
from proxies.policies import PolicyRefused
from proxies.principal import Principal
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps.decide import inspection_failed
from proxies.tickets import TICKET_PREFIX
from proxies.transport.headers import Headers

KEY_PROTOCOL_PREFIX = "openai-insecure-api-key."
"""What a sub-protocol begins with that is a key, by the custom of OpenAI's Realtime API."""
MAX_CREDENTIAL_CHARACTERS = 512
_CHALLENGE = (("www-authenticate", 'Bearer realm="ostiary"'),)
_SIGNED = "AWS4-"
"""How the credentials of requests begin that are signed for AWS."""


def presented_credential(headers: Headers) -> str:
    """The client's credential, or an empty string."""
    if key := headers.get("x-api-key") or headers.get("x-goog-api-key"):
        return key.strip()
    scheme, _, value = (headers.get("authorization") or "").partition(" ")
    if scheme.lower() in ("bearer", "apikey"):
        return value.strip()
    return (headers.get("api-key") or "").strip()


def check(exchange: Exchange) -> None:
    """Set the principal, or refuse with 401."""
    proxy = exchange.proxy
    headers = exchange.request.headers
    credential = presented_credential(headers)
    if not credential and proxy.config.type == "llm":
        credential = _offered(headers, KEY_PROTOCOL_PREFIX).removeprefix(KEY_PROTOCOL_PREFIX)
    key = _key_of(exchange, credential)
    if key is not None:
        if not _opens(key, proxy):
            raise Refusal(
                403,
                "proxy_not_allowed",
                "This API key may not use this proxy.",
                remediation="Ask an administrator to add the proxy to the key.",
            )
        exchange.principal = Principal(key.id, key.name)
        exchange.key_digest = key.digest
        if proxy.protection_by_key:
            _protect(exchange)
        return
    if not proxy.config.require_auth:
        return
    if headers.get("authorization", "").startswith(_SIGNED):
        raise Refusal(
            401,
            "signed_request",
            "The request is signed for AWS. A signature names no Ostiary key, and would not fit what the gateway sends on.",
            remediation="Set AWS_BEARER_TOKEN_BEDROCK to an Ostiary key: the SDKs of AWS then send it as a bearer token and do "
            "not sign. Or send the key as X-API-Key beside the signature, which goes no further.",
            headers=_CHALLENGE,
        )
    raise Refusal(
        401,
        "invalid_api_key" if credential else "missing_api_key",
        "The API key is unknown, expired or revoked." if credential else "No API key was given.",
        remediation="Send a key made under Access in the console as 'Authorization: Bearer ...' or 'X-API-Key'.",
        headers=_CHALLENGE,
    )


def still_holds(proxy: ProxyRuntime, key_digest: str, principal_id: str) -> bool:
    """Whether a connection that was opened with this key, or without one, may stay open under this configuration."""
    key = proxy.keys.find_digest(key_digest) if key_digest else None
    if key is None:
        return not proxy.config.require_auth and not principal_id
    return key.id == principal_id and _opens(key, proxy)


def _key_of(exchange: Exchange, credential: str) -> APIKey | None:
    keys = exchange.proxy.keys
    request = exchange.request
    if isinstance(request, CarriedRequest):
        return keys.find_digest(request.key_digest)
    if not credential and (ticket := _offered(request.headers, TICKET_PREFIX)) and exchange.proxy.carriers is not None:
        digest = exchange.proxy.carriers.tickets.redeem(ticket)
        return keys.find_digest(digest) if digest else None
    return keys.find(credential) if 0 < len(credential) <= MAX_CREDENTIAL_CHARACTERS else None


def _offered(headers: Headers, prefix: str) -> str:
    """The sub-protocol of a WebSocket's opening handshake that begins like this, or an empty string."""
    if "upgrade" not in headers:
        return ""
    offered = ",".join(headers.getall("sec-websocket-protocol")).split(",")
    return next((one.strip() for one in offered if one.strip().startswith(prefix)), "")


def _opens(key: APIKey, proxy: ProxyRuntime) -> bool:
    return key.proxy_ids is None or proxy.config.id in key.proxy_ids or not proxy.config.require_auth


def _protect(exchange: Exchange) -> None:
    """Put the policies of the key in force, where it has its own; raises `Refusal` where they cannot be had."""
    protection = exchange.proxy.protection_by_key.get(exchange.principal.id)
    if isinstance(protection, str):
        raise inspection_failed(exchange, PolicyRefused(protection))
    if protection is not None:
        exchange.protection = protection
