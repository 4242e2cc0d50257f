"""What can be wrong with an API key."""

from __future__ import annotations

from app.errors import Conflict, NotFound


class KeyNotFound(NotFound):
    code = "api_key_not_found"
    default_message = "There is no such API key."
    default_remediation = "List the keys with GET /api/v1/api-keys."


class KeyNameTaken(Conflict):
    code = "api_key_name_taken"
    default_remediation = "Choose another name, or revoke the other key first."


class KeyAlreadyRevoked(Conflict):
    code = "api_key_revoked"
    default_message = "The key is revoked already."
    default_remediation = "Nothing has to be done; a revoked key stays revoked."
