"""Errors of the accounts."""

from app.errors import BadRequest, Conflict, NotAuthenticated, NotFound


class InvalidCredentials(NotAuthenticated):
    """Deliberately the same for an unknown user, a wrong password and a deactivated account."""

    code = "INVALID_CREDENTIALS"
    default_message = "The user name or the password is wrong."
    default_remediation = "Check both and try again."


class NotASession(BadRequest):
    code = "not_a_session"
    default_message = "This credential is an API token, not a session."
    default_remediation = "Revoke it with POST /api/v1/tokens/{id}/revoke."


class UsernameTaken(Conflict):
    code = "username_taken"
    default_message = "There is already a user with that name."
    default_remediation = "Choose another user name."


class LastAdmin(Conflict):
    code = "last_admin"
    default_message = "This is the only active administrator."
    default_remediation = "Make somebody else an administrator first."


class UserNotFound(NotFound):
    default_message = "There is no such user."
    default_remediation = "List the users with GET /api/v1/users."


class TokenNotFound(NotFound):
    default_message = "There is no such API token."
    default_remediation = "List the tokens with GET /api/v1/tokens."
