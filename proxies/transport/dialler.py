"""From an origin to an open connection: which addresses, directly or through an HTTP proxy, plain or with TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from proxies.contract import UpstreamProxy
from proxies.egress_policy import Origin, parse_target
from proxies.transport.egress import EgressPolicy, check_proxied, resolve
from proxies.transport.errors import (
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamProxyUnreachable,
    UpstreamUnreachable,
)
from proxies.transport.limits import Bounds
from proxies.transport.tls import public_key_sha256
from proxies.transport.tunnel import open_tunnel

P = TypeVar("P", bound=asyncio.Protocol)


class Dialler:
    """Makes the connections to one origin. With a proxy an http target is asked for in absolute form on a connection to
    the proxy, an https target through a tunnel; TLS and its verification are with the target in every case."""

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext | None,
        *,
        proxy: UpstreamProxy | None,
        egress: EgressPolicy,
        bounds: Bounds,
        tunnels: bool = False,
    ) -> None:
        self._origin = origin
        self._tls = tls if origin.is_tls else None
        self._proxy = proxy
        self._proxy_origin = parse_target(f"http://{proxy.address}") if proxy is not None else None
        self._tunnels = tunnels
        """Whether a plain target is reached through a tunnel too: what follows is not HTTP."""
        self._egress = egress
        self._bounds = bounds
        self._certificate = b""
        """DER of the target's certificate on the newest connection."""

    @property
    def tls_key_sha256(self) -> str:
        """SHA-256 of the target's public key (SubjectPublicKeyInfo), lower-case hex; empty while it is not known."""
        return public_key_sha256(self._certificate) if self._certificate else ""

    @property
    def request_prefix(self) -> str:
        """What stands before the path of a request target: nothing, or for a proxy scheme and authority."""
        return f"http://{self._origin.authority}" if self.speaks_to_proxy else ""

    @property
    def speaks_to_proxy(self) -> bool:
        """Whether requests are addressed to a proxy, which answers or passes them on."""
        return self._proxy is not None and self._tls is None and not self._tunnels

    @property
    def proxy_fields(self) -> list[tuple[str, str]]:
        """The fields that the proxy wants with each message for itself."""
        if self._proxy is None or not self._proxy.authorization:
            return []
        return [("proxy-authorization", self._proxy.authorization)]

    async def dial(self, make: Callable[[], P], connect_seconds: float) -> P:
        """Connect to the first of the addresses that accepts; all but the last get an equal share of the time. Raises
        UpstreamError; the whole deadline is the caller's."""
        addresses = await self._addresses()
        share = connect_seconds / len(addresses)
        failure: UpstreamError | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(share if address != addresses[-1] else None):
                    return await self._connect(address, make)
            except (OSError, TimeoutError) as error:
                failure = self._failure(error)
                failure.__cause__ = error
        raise failure or UpstreamUnreachable("The upstream's name has no address.", code="upstream_dns_error")

    async def _addresses(self) -> list[str]:
        if self._proxy_origin is None:
            return await resolve(self._origin, self._egress)
        check_proxied(self._origin, self._egress)
        try:
            return await resolve(self._proxy_origin, self._egress)
        except UpstreamUnreachable as error:
            reason = (
                "its name cannot be resolved" if error.code == "upstream_dns_error" else "its address is not allowed"
            )
            raise self._proxy_unreachable(reason) from error

    async def _connect(self, address: str, make: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        server_name = self._origin.host if self._tls is not None else None
        if self._proxy is None:
            transport, connection = await loop.create_connection(
                make, address, self._origin.port, ssl=self._tls, server_hostname=server_name
            )
            self._note_certificate(transport)
            return connection
        if self.speaks_to_proxy:
            _, connection = await loop.create_connection(make, address, self._proxy.port)
            return connection
        tunnel = await open_tunnel(
            address, self._proxy.port, self._origin.host_and_port, self.proxy_fields, self._bounds
        )
        if self._tls is not None:
            return await self._start_tls(tunnel, make(), self._tls)
        connection = make()
        tunnel.set_protocol(connection)
        connection.connection_made(tunnel)
        tunnel.resume_reading()
        return connection

    async def _start_tls(self, tunnel: asyncio.Transport, connection: P, tls: ssl.SSLContext) -> P:
        loop = asyncio.get_running_loop()
        # An upstream that speaks first is cut by the connection, which needs a transport for that.
        connection.connection_made(tunnel)
        try:
            transport = await loop.start_tls(tunnel, connection, tls, server_hostname=self._origin.host)
            if transport is None:
                raise ConnectionResetError("the tunnel was closed during the handshake")
        except BaseException as error:
            tunnel.abort()
            if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | TimeoutError):
                # The proxy has done its part: this is the target's doing.
                raise UpstreamUnreachable("The upstream closed the connection during the handshake.") from error
            raise
        connection.connection_made(transport)
        self._note_certificate(transport)
        return connection

    def _note_certificate(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._certificate = tls.getpeercert(binary_form=True) or b""

    def _failure(self, error: OSError) -> UpstreamError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return UpstreamUnreachable("The upstream's certificate was not accepted.", code="upstream_tls_error")
        if isinstance(error, ssl.SSLError):
            return UpstreamUnreachable("TLS with the upstream failed.", code="upstream_tls_error")
        if isinstance(error, TimeoutError):
            return UpstreamConnectTimeout("The connection to the upstream took too long.")
        if self._proxy is not None:
            return self._proxy_unreachable("it does not accept connections")
        return UpstreamUnreachable("The upstream does not accept connections.")

    def _proxy_unreachable(self, reason: str) -> UpstreamError:
        address = self._proxy.address if self._proxy is not None else ""
        return UpstreamProxyUnreachable(
            "The proxy on the way to the upstream cannot be reached.",
            detail=f"The proxy {address} on the way to the upstream cannot be reached: {reason}.",
        )
