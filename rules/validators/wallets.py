"""Addresses of cryptocurrencies, each with the checksum of its own format."""

from __future__ import annotations

import hashlib
import re

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CHECKS = frozenset({1, 0x2BC830A3})
"""What the checksum leaves: 1 for bech32 (BIP 173), the other for bech32m (BIP 350)."""
_ETHEREUM = re.compile(r"0[xX]([0-9a-fA-F]{40})")
_LANE = (1 << 64) - 1
_ROTATIONS = (
    (0, 36, 3, 41, 18),
    (1, 44, 10, 45, 2),
    (62, 6, 43, 15, 61),
    (28, 55, 25, 21, 56),
    (27, 20, 39, 8, 14),
)
_ROUNDS = 24
_KECCAK_256_RATE_BYTES = 136


def base58check(value: str) -> bool:
    """Whether the last four bytes are the doubled SHA-256 of the rest, as in Bitcoin's older addresses and keys."""
    number = 0
    for char in value:
        place = _BASE58.find(char)
        if place < 0:
            return False
        number = number * 58 + place
    zeros = len(value) - len(value.lstrip("1"))
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not 21 + 4 <= len(raw) <= 78 + 4:
        return False
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


def bech32(value: str) -> bool:
    """Whether the checksum of a bech32 (BIP 173) or bech32m (BIP 350) string holds."""
    if value.lower() != value and value.upper() != value:
        return False
    prefix, separator, data = value.lower().rpartition("1")
    if not prefix or not separator or len(data) < 6 or any(char not in _BECH32 for char in data):
        return False
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    values += [_BECH32.index(char) for char in data]
    check = 1
    for five_bits in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ five_bits
        for bit, generator in enumerate(_BECH32_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check in _BECH32_CHECKS


def eip55(value: str) -> bool:
    """An Ethereum address: one case throughout, or upper and lower case as EIP-55 derives them from its hash."""
    match = _ETHEREUM.fullmatch(value)
    if match is None:
        return False
    address = match[1]
    if len(set(address.lower())) < 4:
        return False
    if address in (address.lower(), address.upper()):
        return True
    digest = keccak_256(address.lower().encode()).hex()
    return all(
        char.isdigit() or char.isupper() == (int(nibble, 16) >= 8)
        for char, nibble in zip(address, digest, strict=False)
    )


def keccak_256(message: bytes) -> bytes:
    """Keccak-256 with the padding of the original submission, which Ethereum uses and SHA-3 (FIPS 202) does not."""
    padded = bytearray(message) + b"\x01"
    padded += bytes(-len(padded) % _KECCAK_256_RATE_BYTES)
    padded[-1] |= 0x80
    state = [[0] * 5 for _ in range(5)]
    for offset in range(0, len(padded), _KECCAK_256_RATE_BYTES):
        for lane in range(_KECCAK_256_RATE_BYTES // 8):
            start = offset + lane * 8
            state[lane % 5][lane // 5] ^= int.from_bytes(padded[start : start + 8], "little")
        state = _permuted(state)
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


def _permuted(state: list[list[int]]) -> list[list[int]]:
    """Keccak-f[1600]: theta, rho and pi, chi, iota, 24 times."""
    constant_bits = 1
    for _ in range(_ROUNDS):
        columns = [lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4] for lanes in state]
        parity = [columns[x - 1] ^ _rotated(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                moved[y][(2 * x + 3 * y) % 5] = _rotated(state[x][y] ^ parity[x], _ROTATIONS[x][y])
        state = [
            [moved[x][y] ^ (~moved[(x + 1) % 5][y] & _LANE & moved[(x + 2) % 5][y]) for y in range(5)] for x in range(5)
        ]
        for bit in range(7):
            if constant_bits & 1:
                state[0][0] ^= 1 << ((1 << bit) - 1)
            constant_bits = constant_bits << 1 ^ (0x171 if constant_bits & 0x80 else 0)
    return state


def _rotated(lane: int, count: int) -> int:
    return (lane << count | lane >> (64 - count)) & _LANE
