"""The two keys of an installation, kept outside the database.

`encryption.key` opens the vault, `secret.key` signs CSRF tokens and chains the audit log. Both are texts of at least 32
characters; what is used is derived from them with HKDF-SHA256 (RFC 5869), one sub-key a purpose, so an operator's text
is never a raw AES key (SEC-05).
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.paths import DataDirectory, write_private
from app.settings import Settings, SettingsError, check_secret
from app.unusable import reason

KEY_BYTES = 32
GENERATED_ENTROPY_BYTES = 48


class KeysMissing(Exception):
    """There is a database but not the key that belongs to it; a new key would make its secrets unreadable for ever."""


class Keys:
    """Derived keys, in memory only."""

    def __init__(self, encryption: str, secret: str) -> None:
        self.vault = derive(encryption, "vault")
        self.key_check = derive(encryption, "key check")
        self.csrf = derive(secret, "csrf")
        self.audit = derive(secret, "audit chain")

    def __repr__(self) -> str:
        return "<Keys>"


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose."""
    info = f"ostiary v1 {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret.encode())


def load_keys(settings: Settings, directory: DataDirectory, *, may_generate: bool) -> Keys:
    """Keys from the settings, else from their files, else (only before there is a database) generated.

    Raises SettingsError for a weak key or one that others can read, KeysMissing when a key file is gone.
    """
    encryption = settings.encryption_key or _key_file("encryption_key", directory.keys / "encryption.key", may_generate)
    secret = settings.secret_key or _key_file("secret_key", directory.keys / "secret.key", may_generate)
    return Keys(encryption, secret)


def _key_file(name: str, path: Path, may_generate: bool) -> str:
    if not path.exists():
        if not may_generate:
            raise KeysMissing(
                f"The key file {path} is missing, but the database that was made with it exists. "
                f"Restore the file from a backup, or give the key by its environment variable."
            )
        write_private(path, secrets.token_urlsafe(GENERATED_ENTROPY_BYTES).encode() + b"\n")
    if os.name != "nt" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(name, f"{path} can be read by others. Close it with: chmod 600 {path}")
    try:
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(name, f"cannot read {path}: {reason(error, path)}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(name, f"{path} is not the text of a key. Restore the file from a backup.") from error
    check_secret(name, secret)
    return secret
