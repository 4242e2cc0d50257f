"""TLS contexts for both sides: 1.2 or newer, HTTP/1.1 only, and towards upstreams verification that is always on."""

from __future__ import annotations

import hashlib
import ssl

_PROTOCOLS = ["http/1.1"]


class BadTLS(ValueError):
    """A certificate, key or CA file that cannot be used; the message names the file and never quotes it."""


def listener_context(cert_path: str, key_path: str) -> ssl.SSLContext:
    """The context of a proxy's own port. Raises BadTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(_PROTOCOLS)
    _load_pair(context, cert_path, key_path)
    return context


def upstream_context(ca_path: str = "", client_cert_path: str = "", client_key_path: str = "") -> ssl.SSLContext:
    """The context for an upstream: certificate and host name are verified against the system's CAs, or against the
    bundle at `ca_path` alone; a client certificate is shown to an upstream that asks for one. Raises BadTLS."""
    try:
        context = ssl.create_default_context(cafile=ca_path or None)
    except (OSError, ssl.SSLError) as error:
        raise BadTLS(f"CA bundle {ca_path} cannot be used: {_reason(error)}") from error
    if ca_path and not context.get_ca_certs():
        raise BadTLS(f"CA bundle {ca_path} holds no certificate")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    if client_cert_path:
        _load_pair(context, client_cert_path, client_key_path)
    return context


def public_key_sha256(certificate: bytes) -> str:
    """SHA-256 (hex) of the SubjectPublicKeyInfo of a certificate in DER; empty for bytes that are none.

    TLS has verified the certificate; this only finds the seventh member of its first part (RFC 5280 §4.1), for which a
    library of 10 MB would be too much.
    """
    try:
        whole, _ = _der_content(certificate, 0)
        signed, _ = _der_content(certificate, whole.start)
        position = signed.start
        # An explicit version ([0]) comes first in every certificate since 1996; then serial number, algorithm, issuer,
        # validity and subject.
        skipped = 6 if certificate[position] == 0xA0 else 5
        for _ in range(skipped):
            _, position = _der_content(certificate, position)
        _, end = _der_content(certificate, position)
    except IndexError:
        return ""
    return hashlib.sha256(certificate[position:end]).hexdigest()


def _der_content(data: bytes, start: int) -> tuple[slice, int]:
    """Where the content of the DER value at `start` lies, and where the next value begins."""
    length, begin = data[start + 1], start + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    if begin + length > len(data):
        raise IndexError("a value is longer than its data")
    return slice(begin, begin + length), begin + length


def _load_pair(context: ssl.SSLContext, cert_path: str, key_path: str) -> None:
    try:
        # The callback answers for encrypted keys: without it OpenSSL would ask at the terminal and wait.
        context.load_cert_chain(cert_path, key_path, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise BadTLS(f"certificate {cert_path} with key {key_path} cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not a valid PEM file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__  # Such as a ValueError for a path with a NUL.
