"""Scripts for `rawpeer.Upstream`: upstreams that are slow, silent or never end."""

from __future__ import annotations

from tests.rawpeer import UpstreamPeer, chunked

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = chunked(b"data: 1\n\n", last=False)


async def silent(peer: UpstreamPeer) -> None:
    """Takes a request and never answers."""
    await peer.read_request()
    await peer.wait_gone()


async def stalling(peer: UpstreamPeer) -> None:
    """Sends one event of a stream and falls silent."""
    await peer.read_request()
    await peer.send(STREAM_HEAD + EVENT)
    await peer.wait_gone()
