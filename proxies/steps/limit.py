"""The rate limits of the policies that apply to a call (AG-PE-5). Each worker counts the calls that it serves."""

from __future__ import annotations

import math
import time

from proxies.exchange import Exchange
from proxies.refusal import Refusal
from proxies.sliding_window import SlidingWindow
from rules.model import Action, Decision, Verdict
from rules.policy import RateLimit
from rules.policy_evaluation import CompiledPolicy


def check(exchange: Exchange) -> None:
    """Count the call, or raise `Refusal` with 429 where a limit that is enforced is exceeded: then no limit counts it."""
    now = time.monotonic()
    counted: list[tuple[SlidingWindow, str]] = []
    for policy in exchange.protection.policies.policies:
        for limit in policy.policy.rate_limits:
            window = exchange.proxy.rates.of(policy.policy.name, limit)
            key = _key(exchange, limit)
            wait_seconds = window.wait_seconds(key, now)
            if wait_seconds > 0:
                _exceeded(exchange, policy, limit, wait_seconds)
            else:
                counted.append((window, key))
    for window, key in counted:
        window.count(key, now)


def _key(exchange: Exchange, limit: RateLimit) -> str:
    """What calls of one count have in common. Without a key the address stands for the client."""
    if limit.scope == "proxy":
        return exchange.proxy.config.id
    if limit.scope == "ip" or (limit.scope == "client" and not exchange.principal.id):
        return f"ip {exchange.request.peer_ip}"
    return f"key {exchange.principal.id}"


def _exceeded(exchange: Exchange, policy: CompiledPolicy, limit: RateLimit, wait_seconds: float) -> None:
    log_only = exchange.proxy.config.enforcement == "log_only" or policy.policy.enforcement == "log_only"
    reason = f"More than {limit.limit} calls in {limit.window} (rate limit {limit.id}, policy {policy.policy.name})"
    decision = Decision(
        source="rate_limit",
        rule_id=limit.id,
        policy=policy.policy.name,
        policy_version=policy.version,
        level=policy.level,
        would_action=Action.BLOCK,
        status=429,
    )
    exchange.verdict = Verdict(Action.ALLOW, 0, (), f"{reason[:-1]}, log only)" if log_only else reason, decision)
    if log_only:
        return
    raise Refusal(
        429,
        "rate_limited",
        f"{reason}.",
        remediation="Wait as long as Retry-After says.",
        headers=(("retry-after", str(math.ceil(wait_seconds))),),
    )
