"""The browser's side of a session: cookie names and attributes, and the CSRF token that belongs to exactly one session.

The session itself is a row (see `accounts`): ended by logout, by a password change, by two hours without use, after
twelve hours in any case. The cookie is SameSite=Lax so that a link from a chat message opens logged in; changes are
protected by the CSRF token and the origin checks, and reading changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import Literal

from litestar.datastructures import Cookie

from app.security.keys import Keys
from app.settings import Settings

IDLE_LIFETIME = timedelta(hours=2)
ABSOLUTE_LIFETIME = timedelta(hours=12)
SEEN_GRANULARITY = timedelta(minutes=1)
"""How stale `seen_at` may be; finer would write on every request."""
CSRF_HEADER = "x-csrftoken"
CSRF_FIELD = "_csrf_token"


class SessionCookies:
    """Makes and reads the two cookies.

    Their names carry the port, as browsers share cookies between the ports of a host.
    """

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._key = keys.csrf
        self._secure = settings.is_https
        prefix = "__Host-" if self._secure else ""
        self.session_name = f"{prefix}ostiary_session_{settings.port}"
        self.csrf_name = f"{prefix}ostiary_csrf_{settings.port}"

    def __repr__(self) -> str:
        return f"<SessionCookies {self.session_name}>"

    def csrf_token(self, session_digest: str) -> str:
        """The CSRF token of one session; of no use with another."""
        return hmac.new(self._key, session_digest.encode(), hashlib.sha256).hexdigest()

    def csrf_matches(self, session_digest: str, given: str) -> bool:
        """Whether a token belongs to the session, in constant time."""
        return hmac.compare_digest(self.csrf_token(session_digest).encode(), given.encode("utf-8", "replace"))

    def start(self, token: str, session_digest: str) -> list[Cookie]:
        """Cookies for a new session: one that scripts cannot read and the CSRF token that they can."""
        return [
            self._cookie(self.session_name, token, httponly=True, samesite="lax"),
            self._cookie(self.csrf_name, self.csrf_token(session_digest), httponly=False, samesite="strict"),
        ]

    def end(self) -> list[Cookie]:
        """Cookies that remove both."""
        return [
            self._cookie(self.session_name, "", httponly=True, samesite="lax", max_age=0),
            self._cookie(self.csrf_name, "", httponly=False, samesite="strict", max_age=0),
        ]

    def _cookie(
        self, name: str, value: str, *, httponly: bool, samesite: Literal["lax", "strict"], max_age: int | None = None
    ) -> Cookie:
        return Cookie(
            key=name, value=value, path="/", httponly=httponly, samesite=samesite, secure=self._secure, max_age=max_age
        )
