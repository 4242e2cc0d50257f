"""Who calls. The credential is looked for in `X-API-Key` (Gemini clients: `X-Goog-Api-Key`), then `Authorization: Bearer`,
then `Authorization: ApiKey`.

It is never read from the query, where it would end up in logs (ADM-17), and never forwarded (G-07).
"""

from __future__ import annotations

from proxies.exchange import Exchange, Principal
from proxies.policies import PolicyRefused
from proxies.refusal import Refusal
from proxies.steps.decide import inspection_failed
from proxies.transport.headers import Headers

MAX_CREDENTIAL_CHARACTERS = 512


def presented_credential(headers: Headers) -> str:
    """The client's credential, or an empty string."""
    if key := headers.get("x-api-key") or headers.get("x-goog-api-key"):
        return key.strip()
    scheme, _, value = (headers.get("authorization") or "").partition(" ")
    if scheme.lower() in ("bearer", "apikey"):
        return value.strip()
    return ""


def check(exchange: Exchange) -> None:
    """Set the principal, or refuse with 401."""
    proxy = exchange.proxy
    credential = presented_credential(exchange.request.headers)
    key = proxy.keys.find(credential) if 0 < len(credential) <= MAX_CREDENTIAL_CHARACTERS else None
    if key is not None:
        if key.proxy_ids is not None and proxy.config.id not in key.proxy_ids and proxy.config.require_auth:
            raise Refusal(
                403,
                "proxy_not_allowed",
                "This API key may not use this proxy.",
                remediation="Ask an administrator to add the proxy to the key.",
            )
        exchange.principal = Principal(id=key.id, name=key.name)
        _protect(exchange)
        return
    if not proxy.config.require_auth:
        return
    raise Refusal(
        401,
        "invalid_api_key" if credential else "missing_api_key",
        "The API key is unknown, expired or revoked." if credential else "No API key was given.",
        remediation="Send a key made under Access in the console as 'Authorization: Bearer ...' or 'X-API-Key'.",
        headers=(("www-authenticate", 'Bearer realm="ostiary"'),),
    )


def _protect(exchange: Exchange) -> None:
    """Put the policies of the key in force, where it has its own; raises `Refusal` where they cannot be had."""
    protection = exchange.proxy.protection_by_key.get(exchange.principal.id)
    if isinstance(protection, str):
        raise inspection_failed(exchange, PolicyRefused(protection))
    if protection is not None:
        exchange.protection = protection
