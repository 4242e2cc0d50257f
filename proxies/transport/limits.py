"""Bounds of the protocol itself, the same for every proxy. What a proxy may tune is `contract.Limits`."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, frozen=True):
    """Numbers that no legitimate client or upstream comes near. Tests lower some of them."""

    max_request_line_bytes: int = 8 * 1024
    max_header_line_bytes: int = 16 * 1024
    max_head_bytes: int = 64 * 1024
    max_header_fields: int = 100
    max_response_fields: int = 200
    max_pipelined_bytes: int = 64 * 1024
    """Bytes of later requests kept while an answer is pending; a client that sends more is cut off."""
    high_water_bytes: int = 128 * 1024
    """Unsent bytes towards a client at which `Response.write` waits. With one more read on top of it (at most 64 KiB
    a piece, see `piece_bytes`) a connection holds under 256 KiB."""
    low_water_bytes: int = 32 * 1024
    piece_bytes: int = 64 * 1024
    """The largest piece of a streamed response handed on at once."""
    read_ahead_bytes: int = 256 * 1024
    """Received and not yet consumed bytes at which reading from a peer pauses."""
    max_chunk_overhead_bytes: int = 64 * 1024
    """Framing bytes of a chunked request body beyond five for each byte of its content."""
    max_informational: int = 10
    """Interim (1xx) responses accepted before a final one."""
    min_body_rate: int = 16 * 1024
    """Bytes a second: every so many bytes received extend the body's deadline by one second."""
    min_write_rate: int = 512
    """Bytes a second a client must take while output is waiting, averaged over the stall window."""
    write_stall_seconds: float = 60.0
    half_close_seconds: float = 0.5
    """Silence after a client's FIN, while its answer is pending, after which it is probed whether it left."""
    drain_idle_seconds: float = 0.5
    """What an idle connection gets for a request that is on its way when its listener begins to drain."""
    linger_seconds: float = 10.0
    """How long a refused client may go on sending before its connection is reset: most clients send their whole body
    before they look for an answer, and a reset would destroy it."""
    max_linger_bytes: int = 64 * 1024 * 1024
    polite_refusals: int = 128
    """Connections over the cap that are told so; those beyond are reset."""
    max_requests_per_connection: int = 10_000
    max_connection_age_seconds: float = 3600.0
    sweep_seconds: float = 0.5
    """Resolution of all deadlines."""


MAX_PIECES = 256
"""Received pieces of a body kept apart: beyond them one that trickles in would take many times its size in memory."""

DEFAULT_BOUNDS = Bounds()
