"""The directory of people and their API tokens.

What an administrator does with them, each in the caller's unit of work.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, undo
from app.accounts import repository
from app.accounts.errors import LastAdmin, TokenNotFound, UsernameTaken, UserNotFound
from app.accounts.models import APIToken
from app.accounts.schemas import (
    CreatedTokenView,
    CreatedUserView,
    CreateToken,
    CreateUser,
    TokenView,
    UpdateUser,
    UserView,
    token_view,
    user_view,
)
from app.accounts.service import new_user
from app.audit.service import AuditLog
from app.errors import Forbidden
from app.http.envelope import DEFAULT_LIMIT, Listing
from app.http.sorting import Sort
from app.ids import new_id
from app.security.passwords import Passwords, one_time_password
from app.security.permissions import Actor, Role
from app.security.tokens import API_TOKEN_PREFIX, digest, new_token
from app.undo import NothingToRestore


class Directory:
    """People and tokens of one tenant: that of the actor."""

    def __init__(self, passwords: Passwords, audit: AuditLog) -> None:
        self._passwords = passwords
        self._audit = audit

    def __repr__(self) -> str:
        return "<Directory>"

    async def users(
        self,
        session: AsyncSession,
        actor: Actor,
        *,
        search: str = "",
        sort: Sort | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> Listing[UserView]:
        """A page of the people that match, by name unless sorted otherwise."""
        rows, total = await repository.users(
            session, actor.tenant_id, search=search, sort=sort, limit=limit, offset=offset
        )
        return Listing([user_view(user) for user in rows], total, limit, offset)

    async def create_user(self, session: AsyncSession, actor: Actor, wanted: CreateUser) -> CreatedUserView:
        """Add a person with a one-time password; raises UsernameTaken."""
        username = wanted.username.lower()
        if await repository.user_by_name(session, username) is not None:
            raise UsernameTaken(fields={"username": "This name is taken."})
        password = one_time_password()
        user = new_user(username, wanted.email, wanted.role, await self._passwords.hash(password))
        user.tenant_id = actor.tenant_id
        session.add(user)
        details = {"role": wanted.role.value}
        await self._audit.record(
            session, "user.created", actor=actor, resource=("user", user.id, username), details=details
        )
        return CreatedUserView(user=user_view(user), one_time_password=password)

    async def update_user(self, session: AsyncSession, actor: Actor, user_id: str, wanted: UpdateUser) -> UserView:
        """Change role or activity; a deactivated person's sessions end at once. Raises UserNotFound, LastAdmin."""
        user = await repository.user_by_id(session, user_id, actor.tenant_id)
        if user is None:
            raise UserNotFound
        role = user.role if wanted.role is msgspec.UNSET else wanted.role.value
        is_active = user.is_active if wanted.is_active is msgspec.UNSET else wanted.is_active
        loses_admin = user.role == Role.ADMIN and user.is_active and not (role == Role.ADMIN and is_active)
        if loses_admin and await repository.count_active_admins(session, actor.tenant_id) <= 1:
            raise LastAdmin
        resource = ("user", user.id, user.username)
        if role != user.role:
            details = {"before": user.role, "after": role}
            await self._audit.record(session, "user.role.changed", actor=actor, resource=resource, details=details)
        if is_active != user.is_active:
            event = "user.activated" if is_active else "user.deactivated"
            await self._audit.record(session, event, actor=actor, resource=resource)
        if role != user.role or not is_active:
            # A session that began under another role ends: rights change only through a fresh login (ADM-09).
            await repository.delete_sessions_of(session, user.id)
        user.role, user.is_active, user.updated_at = role, is_active, clock.utcnow()
        return user_view(user)

    async def tokens(
        self,
        session: AsyncSession,
        actor: Actor,
        *,
        search: str = "",
        sort: Sort | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> Listing[TokenView]:
        """A page of the API tokens that match, newest first unless sorted otherwise."""
        now = clock.utcnow()
        rows, total = await repository.tokens(
            session, actor.tenant_id, search=search, sort=sort, limit=limit, offset=offset
        )
        return Listing([token_view(token, now) for token in rows], total, limit, offset)

    async def create_token(self, session: AsyncSession, actor: Actor, wanted: CreateToken) -> CreatedTokenView:
        """Make a token for the actor, never with more rights than the credential that asks for it."""
        if not actor.role.covers(wanted.role):
            raise Forbidden("A token cannot have more rights than you have.")
        user = await repository.user_by_id(session, actor.user_id, actor.tenant_id)
        if user is None:
            raise UserNotFound
        now = clock.utcnow()
        secret = new_token(API_TOKEN_PREFIX)
        token = APIToken(
            id=new_id("tok"),
            user=user,
            name=wanted.name,
            role=wanted.role.value,
            digest=digest(secret),
            last4=secret[-4:],
            created_at=now,
            expires_at=now + timedelta(days=wanted.expires_in_days) if wanted.expires_in_days else None,
            last_used_at=None,
            revoked_at=None,
        )
        session.add(token)
        details = {"role": token.role}
        await self._audit.record(
            session, "token.created", actor=actor, resource=("token", token.id, token.name), details=details
        )
        return CreatedTokenView(token=secret, details=token_view(token, now))

    async def revoke_token(self, session: AsyncSession, actor: Actor, token_id: str) -> TokenView:
        """End a token at once; doing it twice changes nothing. Raises TokenNotFound."""
        token = await repository.token_by_id(session, token_id, actor.tenant_id)
        if token is None:
            raise TokenNotFound
        now = clock.utcnow()
        if token.revoked_at is None:
            token.revoked_at = now
            await self._audit.record(session, "token.revoked", actor=actor, resource=("token", token.id, token.name))
        return token_view(token, now)

    async def restore_token(self, session: AsyncSession, actor: Actor, token_id: str) -> TokenView:
        """Take the revocation of a token back; raises NothingToRestore when it is long ago or there is no such token."""
        token = await repository.token_by_id(session, token_id, actor.tenant_id)
        if token is None:
            raise NothingToRestore
        if token.revoked_at is not None:
            if not undo.is_open(token.revoked_at):
                raise NothingToRestore(f"The token {token.name} was revoked too long ago to be restored.")
            token.revoked_at = None
            await self._audit.record(session, "token.restored", actor=actor, resource=("token", token.id, token.name))
        return token_view(token, clock.utcnow())
