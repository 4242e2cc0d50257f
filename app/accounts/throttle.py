"""Login throttling, kept in the database so that a restart does not reset it.

Every attempt is counted before the password is looked at and taken back when it was right, so that parallel attempts
cannot slip past the count. After five failures each further one doubles the wait, up to a minute for an account and a
quarter of an hour for an address. Refused attempts do not count, so no wait is ever longer than that and the sole
admin is never locked out; from the address of the last successful login the account's own wait does not apply at all
(ADM-10).
"""

from __future__ import annotations

import ipaddress
import math
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import repository
from app.accounts.models import LoginThrottle
from app.errors import TooManyAttempts

FREE_FAILURES = 5
MAX_ACCOUNT_WAIT = timedelta(minutes=1)
MAX_ADDRESS_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=1)
IPV6_PREFIX_BITS = 64


def account_subject(username: str) -> str:
    """The counter of an account, known or not."""
    return f"account:{username}"


def address_subject(ip: str) -> str:
    """The counter of an address; for IPv6 of its /64, as one machine owns all of that."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return "address:unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return f"address:{ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False)}"
    return f"address:{address}"


def wait_after(failures: int, longest: timedelta) -> timedelta:
    """How long to wait after so many failures: nothing up to five, then 1 s, 2 s, 4 s, …"""
    if failures <= FREE_FAILURES:
        return timedelta(0)
    exponent = min(failures - FREE_FAILURES - 1, 20)
    return min(timedelta(seconds=2**exponent), longest)


async def count_attempt(session: AsyncSession, *, username: str, ip: str, is_familiar: bool, now: datetime) -> None:
    """Count an attempt for its account and its address, or raise TooManyAttempts and count nothing.

    `is_familiar`: the account's last successful login came from this address.
    """
    await repository.prune_throttle(session, now - FORGOTTEN_AFTER)
    account = await repository.throttle_for(session, account_subject(username))
    address = await repository.throttle_for(session, address_subject(ip))
    blocking = [
        row for row in (address, None if is_familiar else account) if row is not None and row.blocked_until > now
    ]
    if blocking:
        wait = max(row.blocked_until for row in blocking) - now
        raise TooManyAttempts("Too many failed logins.", retry_after_seconds=math.ceil(wait.total_seconds()))
    _count(session, account, account_subject(username), MAX_ACCOUNT_WAIT, now)
    _count(session, address, address_subject(ip), MAX_ADDRESS_WAIT, now)


async def take_back(session: AsyncSession, *, username: str, ip: str, now: datetime) -> None:
    """The password was right: the account starts afresh, the address gets this one attempt back and no more.

    Otherwise somebody with one account could reset the address between guesses at another.
    """
    await forget_account(session, username)
    address = await repository.throttle_for(session, address_subject(ip))
    if address is not None:
        address.failures = max(address.failures - 1, 0)
        address.blocked_until = now


async def forget_account(session: AsyncSession, username: str) -> None:
    """The account starts afresh: its password was just reset."""
    account = await repository.throttle_for(session, account_subject(username))
    if account is not None:
        await session.delete(account)


def _count(session: AsyncSession, row: LoginThrottle | None, subject: str, longest: timedelta, now: datetime) -> None:
    if row is None:
        row = LoginThrottle(subject=subject, failures=0, blocked_until=now, updated_at=now)
        session.add(row)
    row.failures += 1
    row.blocked_until = now + wait_after(row.failures, longest)
    row.updated_at = now
