"""Errors that reach an operator, drawn once.

* AppError
  x BadRequest (400)
  x NotAuthenticated (401)
  x Forbidden (403)
    · PasswordChangeRequired (`password_change_required`)
    · CrossSiteRefused (`cross_site_refused`)
  x NotFound (404)
  x Conflict (409)
  x TooLarge (413)
  x UnsupportedMediaType (415)
  x ValidationFailed (422, with `fields`)
  x TooManyAttempts (429, with `retry_after_seconds`)
  x Unavailable (503)

Features derive their own from these (`class PortTaken(Conflict): code = "port_taken"`). Codes in capitals are the
generic ones of the documented API (inventory b.1); a code in small letters names one situation. Everything in these
errors is shown to the caller, so nothing internal (paths, SQL, secrets) belongs into them.
"""

from __future__ import annotations

from typing import ClassVar


class AppError(Exception):
    """What went wrong, in the operator's words, and what to do about it."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    default_message: ClassVar[str] = "Something went wrong."
    default_remediation: ClassVar[str] = "Look for the request id in the log."

    def __init__(
        self,
        message: str = "",
        *,
        remediation: str = "",
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.message = message or self.default_message
        self.remediation = remediation or self.default_remediation
        self.fields = fields or {}
        self.headers = headers or {}
        super().__init__(self.message)


class BadRequest(AppError):
    code = "BAD_REQUEST"
    status = 400
    default_message = "The request could not be read."
    default_remediation = "Check the request against the API's description."


class NotAuthenticated(AppError):
    code = "UNAUTHORIZED"
    status = 401
    default_message = "Authentication is required."
    default_remediation = "Log in, or send a valid token as 'Authorization: Bearer …'."


class Forbidden(AppError):
    code = "FORBIDDEN"
    status = 403
    default_message = "You may not do this."
    default_remediation = "Ask an administrator for the role that this needs."


class UnknownCredential(Forbidden):
    code = "UNKNOWN_CREDENTIAL"
    default_message = "Nobody has this token."
    default_remediation = "Send a token that is in force; an administrator makes one under Settings, Tokens."


class PasswordChangeRequired(Forbidden):
    code = "password_change_required"
    default_message = "The one-time password must be changed first."
    default_remediation = "Set a new password with POST /api/v1/auth/password or on the page /password."


class CrossSiteRefused(Forbidden):
    code = "cross_site_refused"
    default_message = "The request came from another site, or without its CSRF token."
    default_remediation = "Reload the page and try again; scripts send 'Authorization: Bearer …' instead of a cookie."


class NotFound(AppError):
    code = "NOT_FOUND"
    status = 404
    default_message = "There is nothing here."
    default_remediation = "Check the address."


class Conflict(AppError):
    code = "CONFLICT"
    status = 409
    default_message = "This conflicts with what already exists."
    default_remediation = "Reload and try again with other values."


class TooLarge(AppError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413
    default_message = "The request is too large."
    default_remediation = "Send less, or raise MAX_REQUEST_SIZE_MB."


class UnsupportedMediaType(AppError):
    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    default_message = "The content type is not supported."
    default_remediation = "Send application/json."


class ValidationFailed(AppError):
    code = "VALIDATION_ERROR"
    status = 422
    default_message = "Some values are not valid."
    default_remediation = "Correct the named fields and send it again."


class TooManyAttempts(AppError):
    code = "RATE_LIMIT_EXCEEDED"
    status = 429
    default_message = "Too many attempts."
    default_remediation = "Wait for the time given in Retry-After, then try again."

    def __init__(self, message: str = "", *, retry_after_seconds: int) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_seconds)})
        self.retry_after_seconds = retry_after_seconds


class Unavailable(AppError):
    code = "UNAVAILABLE"
    status = 503
    default_message = "This is not available at the moment."
    default_remediation = "Try again in a moment."
