"""Bytes into lines: the framing of stdio servers and of their logs (P-01, P-02). Sans-I/O."""

from __future__ import annotations


class LineTooLong(Exception):
    """A line is longer than the bound."""


class LineSplitter:
    """Feed bytes as they come; get the lines that became complete, without their ends. A line that is too long raises, or
    with `cut` loses what is beyond the bound."""

    __slots__ = ("_cut", "_max_bytes", "_partial", "_partial_bytes")

    def __init__(self, max_bytes: int, *, cut: bool = False) -> None:
        self._max_bytes = max_bytes
        self._cut = cut
        self._partial: list[bytes] = []
        self._partial_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`; raises LineTooLong."""
        *complete, rest = data.split(b"\n")
        lines: list[bytes] = []
        for piece in complete:
            self._hold(piece)
            lines += self.close()
        self._hold(rest)
        return lines

    def close(self) -> list[bytes]:
        """The line that is held, if there is anything in it but a CR."""
        line = b"".join(self._partial).removesuffix(b"\r")
        self._partial.clear()
        self._partial_bytes = 0
        return [line] if line else []

    def _hold(self, piece: bytes) -> None:
        if self._partial_bytes + len(piece) > self._max_bytes:
            if not self._cut:
                raise LineTooLong(f"a line is longer than {self._max_bytes} bytes")
            piece = piece[: self._max_bytes - self._partial_bytes]
        if piece:
            self._partial.append(piece)
            self._partial_bytes += len(piece)
