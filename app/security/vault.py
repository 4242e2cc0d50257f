"""Secrets at rest: AES-256-GCM with the place of the value as associated data.

A sealed value is `v1.<key id>.<base64url(nonce || ciphertext || tag)>`. The associated data names table, row, column
and key, so a value that is copied into another row or column does not open (SEC-02).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "v1"
NONCE_BYTES = 12
KEY_ID_CHARACTERS = 8


class Undecryptable(Exception):
    """A sealed value was changed, moved or made with another key."""


class Vault:
    """Seals and opens values with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.masking_key = hmac.digest(key, b"ostiary masking key", "sha256")
        """What placeholders are made with: derived from the key, and of no use for opening what is sealed here. Workers
        seal with it what they keep of conversations."""
        self.key_id = hashlib.sha256(b"ostiary key id" + key).hexdigest()[:KEY_ID_CHARACTERS]

    def __repr__(self) -> str:
        return f"<Vault {self.key_id}>"

    def seal(self, plaintext: bytes, *, table: str, row: str, column: str) -> bytes:
        """Seal bytes for exactly one place: key id, nonce, ciphertext, tag."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, plaintext, self._place(table, row, column))
        return self.key_id.encode() + nonce + sealed

    def open(self, sealed: bytes, *, table: str, row: str, column: str) -> bytes:
        """Open sealed bytes in their place; raises Undecryptable."""
        key_id, data = sealed[:KEY_ID_CHARACTERS], sealed[KEY_ID_CHARACTERS:]
        if key_id != self.key_id.encode():
            raise Undecryptable(f"{table}.{column} of {row} was sealed with another key")
        try:
            return self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._place(table, row, column))
        except (ValueError, InvalidTag) as error:
            raise Undecryptable(f"{table}.{column} of {row} cannot be opened") from error

    def encrypt(self, plaintext: str, *, table: str, row: str, column: str) -> str:
        """Seal a value for exactly one place."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, plaintext.encode(), self._place(table, row, column))
        return f"{VERSION}.{self.key_id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def decrypt(self, sealed: str, *, table: str, row: str, column: str) -> str:
        """Open a value in its place; raises Undecryptable and never says more than which place it was."""
        try:
            version, key_id, text = sealed.split(".", 2)
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            if version != VERSION or key_id != self.key_id:
                raise Undecryptable(f"{table}.{column} of {row} was sealed with another key")
            plaintext = self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._place(table, row, column))
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise Undecryptable(f"{table}.{column} of {row} cannot be opened") from error
        return plaintext.decode()

    def _place(self, table: str, row: str, column: str) -> bytes:
        return "\x1f".join((VERSION, self.key_id, table, row, column)).encode()
