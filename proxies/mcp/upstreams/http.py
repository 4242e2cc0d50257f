"""A server that speaks Streamable HTTP itself."""

from __future__ import annotations

from proxies.transport.pool import UpstreamPool, UpstreamResponse


class HTTPUpstream:
    """See `interface.Upstream`. The sessions are the server's: nothing of them is known here."""

    problem = ""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool

    def __repr__(self) -> str:
        return f"<HTTPUpstream {self._pool.origin.authority}>"

    @property
    def base_path(self) -> str:
        """See `Upstream`."""
        return self._pool.origin.base_path

    @property
    def tls_key_sha256(self) -> str:
        """See `Upstream`."""
        return self._pool.tls_key_sha256

    async def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        principal_id: str = "",
        endless: bool = False,
    ) -> UpstreamResponse:
        """See `Upstream`; the server does not learn of our principals."""
        return await self._pool.request(method, target, headers, body, endless=endless)

    def forget(self, session_id: str) -> None:
        """Nothing: the server ends sessions that nobody uses, as it does when a client disappears."""

    async def aclose(self) -> None:
        """See `Upstream`."""
        await self._pool.aclose()
