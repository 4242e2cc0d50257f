"""Logins, sessions and the first administrator: every decision about who somebody is.

A password is never looked at while the database's writer is held: counting the attempt, verifying, and starting the
session are three steps, and the first and last are units of work of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.accounts import repository, throttle
from app.accounts.errors import InvalidCredentials, NotASession, UserNotFound
from app.accounts.models import APIToken, LoginSession, User
from app.accounts.schemas import UserView, user_view
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import Unavailable, ValidationFailed
from app.ids import new_id
from app.security.passwords import Passwords, one_time_password, problem_with
from app.security.permissions import Actor, Role
from app.security.sessions import ABSOLUTE_LIFETIME, IDLE_LIFETIME, SEEN_GRANULARITY
from app.security.tokens import API_TOKEN_PREFIX, SESSION_PREFIX, digest, new_token

logger = logging.getLogger(__name__)

FIRST_USERNAME = "admin"
FIRST_EMAIL = "admin@localhost"
MAX_USERNAME_CHARACTERS = 64
MAX_AGENT_CHARACTERS = 200
MAX_SESSIONS_PER_USER = 50


class Login(msgspec.Struct, frozen=True):
    """A session that has just begun; `token` exists nowhere else."""

    token: str
    digest: str
    expires_at: datetime
    user: UserView

    def __repr__(self) -> str:
        return f"<Login {self.user.username}>"


class Accounts:
    """The accounts feature's service, and the Authenticator of the guard."""

    def __init__(self, database: Database, passwords: Passwords, audit: AuditLog) -> None:
        self._database = database
        self._passwords = passwords
        self._audit = audit

    def __repr__(self) -> str:
        return "<Accounts>"

    # --- First start ------------------------------------------------------------------------------------------------

    async def ensure_admin(self, deliver: Callable[[str], None]) -> bool:
        """Make the first administrator if there is nobody yet, and hand the one-time password to `deliver`.

        Delivery happens inside the transaction: if it fails there is no administrator, and the next start tries again.
        """
        async with self._database.reader() as session:
            if await repository.count_users(session):
                return False
        password = one_time_password()
        encoded = await self._passwords.hash(password)
        async with self._database.writer() as session:
            if await repository.count_users(session):
                return False
            user = new_user(FIRST_USERNAME, FIRST_EMAIL, Role.ADMIN, encoded)
            session.add(user)
            await self._audit.record(session, "user.created", actor=None, resource=("user", user.id, user.username))
            deliver(password)
        return True

    async def reset_password(self, username: str, deliver: Callable[[str], None]) -> None:
        """Give an account a new one-time password and end its sessions; raises UserNotFound.

        For the operator at the machine, who has no session: there is no actor.
        """
        password = one_time_password()
        encoded = await self._passwords.hash(password)
        async with self._database.writer() as session:
            user = await repository.user_by_name(session, username.strip().lower())
            if user is None:
                raise UserNotFound
            user.password_hash, user.must_change_password, user.is_active = encoded, True, True
            user.updated_at = clock.utcnow()
            await repository.delete_sessions_of(session, user.id)
            await throttle.forget_account(session, user.username)
            await self._audit.record(
                session,
                "auth.password.reset",
                actor=None,
                resource=("user", user.id, user.username),
                severity="critical",
            )
            deliver(password)

    # --- Login and logout -------------------------------------------------------------------------------------------

    async def log_in(self, username: str, password: str, *, ip: str, user_agent: str, request_id: str = "") -> Login:
        """Start a session; raises InvalidCredentials or TooManyAttempts."""
        name = username.strip().lower()[:MAX_USERNAME_CHARACTERS]
        async with self._database.writer() as session:
            user = await repository.user_by_name(session, name)
            encoded = user.password_hash if user else None
            is_familiar = user is not None and user.last_login_ip == ip
            await throttle.count_attempt(session, username=name, ip=ip, is_familiar=is_familiar, now=clock.utcnow())
        is_right = await self._passwords.verify(encoded, password)
        if user is None or not is_right or not user.is_active:
            await self._record_failure(user, ip=ip, request_id=request_id)
            raise InvalidCredentials
        async with self._database.writer() as session:
            now = clock.utcnow()
            current = await repository.user_by_name(session, name)
            if current is None or current.password_hash != encoded or not current.is_active:
                raise InvalidCredentials
            await throttle.take_back(session, username=name, ip=ip, now=now)
            current.last_login_at, current.last_login_ip = now, ip
            login = await self._start_session(session, current, ip=ip, user_agent=user_agent, now=now)
            actor = _actor(current, Role(current.role), "session", login.digest, ip, request_id)
            await self._audit.record(
                session, "auth.login", actor=actor, resource=("user", current.id, current.username)
            )
        return login

    async def log_out(self, actor: Actor) -> None:
        """End the session on the server; a copy of the cookie is worth nothing from now on.

        Raises NotASession for an API token, which does not end by logging out.
        """
        async with self._database.writer() as session:
            if not await repository.delete_session(session, actor.credential):
                raise NotASession
            await self._audit.record(
                session, "auth.logout", actor=actor, resource=("user", actor.user_id, actor.username)
            )

    async def change_password(self, actor: Actor, current: str, new: str, *, user_agent: str) -> Login:
        """Set one's own password, end all sessions of this person and start a fresh one.

        Raises ValidationFailed (with the field), or TooManyAttempts as wrong guesses count like failed logins.
        """
        if problem := problem_with(new, username=actor.username):
            raise ValidationFailed(fields={"new_password": problem})
        if new == current:
            raise ValidationFailed(fields={"new_password": "It must differ from the current one."})
        async with self._database.writer() as session:
            user = await self._own_user(session, actor)
            encoded = user.password_hash
            await throttle.count_attempt(
                session,
                username=user.username,
                ip=actor.ip,
                is_familiar=user.last_login_ip == actor.ip,
                now=clock.utcnow(),
            )
        if not await self._passwords.verify(encoded, current):
            raise ValidationFailed(fields={"current_password": "This is not the current password."})
        fresh = await self._passwords.hash(new)
        async with self._database.writer() as session:
            now = clock.utcnow()
            user = await self._own_user(session, actor)
            user.password_hash, user.must_change_password, user.updated_at = fresh, False, now
            await throttle.take_back(session, username=user.username, ip=actor.ip, now=now)
            await repository.delete_sessions_of(session, user.id)
            login = await self._start_session(session, user, ip=actor.ip, user_agent=user_agent, now=now)
            await self._audit.record(
                session, "auth.password.change", actor=actor, resource=("user", user.id, user.username)
            )
        return login

    # --- Authenticator ----------------------------------------------------------------------------------------------

    async def authenticate(
        self, credential: str, *, via: Literal["session", "token"], ip: str, request_id: str
    ) -> Actor | None:
        """See Authenticator. A cookie can only hold a session; a header can hold a session or an API token."""
        key = digest(credential)
        if credential.startswith(SESSION_PREFIX):
            return await self._session_actor(key, via, ip, request_id)
        if credential.startswith(API_TOKEN_PREFIX) and via == "token":
            return await self._token_actor(key, ip, request_id)
        return None

    async def is_still_valid(self, actor: Actor) -> bool:
        """See Authenticator; does not count as use of the session."""
        now = clock.utcnow()
        async with self._database.reader() as session:
            login = await repository.session_by_digest(session, actor.credential)
            if login is not None:
                return _is_live_session(login, now) and login.user.role == actor.role
            token = await repository.token_by_digest(session, actor.credential)
            return token is not None and _is_live_token(token, now)

    async def _session_actor(
        self, key: str, via: Literal["session", "token"], ip: str, request_id: str
    ) -> Actor | None:
        now = clock.utcnow()
        async with self._database.reader() as session:
            login = await repository.session_by_digest(session, key)
        if login is None or not _is_live_session(login, now):
            return None
        if now - login.seen_at >= SEEN_GRANULARITY:
            await self._note_use(lambda session: repository.touch_session(session, key, now))
        return _actor(login.user, Role(login.user.role), via, key, ip, request_id)

    async def _token_actor(self, key: str, ip: str, request_id: str) -> Actor | None:
        now = clock.utcnow()
        async with self._database.reader() as session:
            token = await repository.token_by_digest(session, key)
        if token is None or not _is_live_token(token, now):
            return None
        if token.last_used_at is None or now - token.last_used_at >= SEEN_GRANULARITY:
            await self._note_use(lambda session: repository.touch_token(session, token.id, now))
        role, limit = Role(token.user.role), Role(token.role)
        return _actor(token.user, limit if role.covers(limit) else role, "token", key, ip, request_id)

    # --- Inside -----------------------------------------------------------------------------------------------------

    async def _note_use(self, note: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Best effort: a busy or full database must not keep anybody from reading."""
        try:
            async with self._database.writer() as session:
                await note(session)
        except (Unavailable, OperationalError) as error:
            logger.warning("Could not note the use of a credential: %s", type(error).__name__)

    async def _start_session(
        self, session: AsyncSession, user: User, *, ip: str, user_agent: str, now: datetime
    ) -> Login:
        token = new_token(SESSION_PREFIX)
        login = LoginSession(
            digest=digest(token),
            user_id=user.id,
            ip=ip,
            user_agent=user_agent[:MAX_AGENT_CHARACTERS],
            created_at=now,
            seen_at=now,
            expires_at=now + ABSOLUTE_LIFETIME,
        )
        session.add(login)
        await session.flush()
        await repository.prune_sessions(session, user.id, MAX_SESSIONS_PER_USER, now, now - IDLE_LIFETIME)
        return Login(token=token, digest=login.digest, expires_at=login.expires_at, user=user_view(user))

    async def _record_failure(self, user: User | None, *, ip: str, request_id: str) -> None:
        # The name that was tried is kept only if it is an account: people type passwords into the wrong field.
        resource = ("user", user.id, user.username) if user else ("user", "", "unknown")
        async with self._database.writer() as session:
            await self._audit.record(
                session,
                "auth.login.failed",
                actor=None,
                resource=resource,
                result="failure",
                severity="warning",
                source_ip=ip,
                request_id=request_id,
            )

    async def _own_user(self, session: AsyncSession, actor: Actor) -> User:
        user = await repository.user_by_id(session, actor.user_id, actor.tenant_id)
        if user is None:
            raise UserNotFound
        return user


def new_user(username: str, email: str, role: Role, password_hash: str) -> User:
    """A row for a new person with a one-time password."""
    now = clock.utcnow()
    return User(
        id=new_id("usr"),
        username=username,
        email=email,
        role=role.value,
        password_hash=password_hash,
        must_change_password=True,
        is_active=True,
        last_login_at=None,
        last_login_ip="",
        created_at=now,
        updated_at=now,
    )


def _actor(
    user: User, role: Role, via: Literal["session", "token"], credential: str, ip: str, request_id: str
) -> Actor:
    return Actor(
        user_id=user.id,
        username=user.username,
        role=role,
        via=via,
        ip=ip,
        credential=credential,
        must_change_password=user.must_change_password,
        request_id=request_id,
        tenant_id=user.tenant_id,
    )


def _is_live_session(login: LoginSession, now: datetime) -> bool:
    return login.user.is_active and login.expires_at > now and login.seen_at + IDLE_LIFETIME > now


def _is_live_token(token: APIToken, now: datetime) -> bool:
    is_current = token.expires_at is None or token.expires_at > now
    return token.user.is_active and token.revoked_at is None and is_current
