"""A client of one server, as small as a scan needs: either era, without callbacks, nothing retried."""

from __future__ import annotations

import itertools
from typing import Any, Final, Literal

import msgspec

from proxies.mcp.eras import (
    META_CAPABILITIES,
    META_VERSION,
    METHOD_HEADER,
    MODERN_VERSIONS,
    NAME_HEADER,
    VERSION_HEADER,
)
from proxies.mcp.header_values import encode_value
from proxies.mcp.methods import NAME_PARAM
from proxies.mcp.upstream import SESSION_HEADER
from proxies.scan.link import Fields, Link, Reply
from proxies.strict_json import dump

META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"

_ids = itertools.count(1)


class Client(msgspec.Struct, frozen=True):
    """Who the scan says that it is, and how it proves it."""

    name: str
    version: str = "1.0"
    credential: Fields = []

    @property
    def info(self) -> dict[str, str]:
        """As the protocol wants it."""
        return {"name": self.name, "version": self.version}

    def __repr__(self) -> str:
        return f"<Client {self.name}>"


class Conversation:
    """An opened conversation. `opening` is the result of `initialize` or `server/discover`."""

    def __init__(
        self,
        link: Link,
        client: Client,
        *,
        era: Literal["legacy", "modern"],
        version: str,
        opening: dict[str, Any],
        session_id: str = "",
    ) -> None:
        self.link = link
        self.client = client
        self.era = era
        self.version = version
        self.opening = opening
        self.session_id = session_id

    def __repr__(self) -> str:
        return f"<Conversation {self.era} {self.version} as {self.client.name}>"

    @property
    def server_info(self) -> Any:
        """Who the server says that it is: in the opening itself in the legacy era, in its metadata in the modern one."""
        meta = self.opening.get("_meta")
        return self.opening.get("serverInfo") or (meta.get(META_SERVER) if type(meta) is dict else None)

    async def request(self, method: str, params: dict[str, Any] | None = None) -> tuple[Reply, dict[str, Any] | None]:
        """Ask, and get the reply with the result, where there is one."""
        id = next(_ids)
        if self.era == "modern":
            reply = await _modern(self.link, self.client, self.version, id, method, params or {})
        else:
            message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
            reply = await self.link.post(dump(message), self.fields(), id)
        return reply, reply.result_of(id)

    def fields(self, session_id: str | None = None) -> Fields:
        """The header fields of a legacy message."""
        session = self.session_id if session_id is None else session_id
        fields = [*self.client.credential, (VERSION_HEADER, self.version)]
        return [*fields, (SESSION_HEADER, session)] if session else fields


async def open_legacy(
    link: Link, client: Client, version: str, extra: Fields | None = None
) -> tuple[Reply, Conversation | None]:
    """`initialize`, and `notifications/initialized` where that was answered."""
    id = next(_ids)
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": client.info}
    message = {"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params}
    reply = await link.post(dump(message), [*client.credential, *(extra or [])], id)
    result = reply.result_of(id)
    agreed = (result or {}).get("protocolVersion")
    if result is None or type(agreed) is not str:
        return reply, None
    conversation = Conversation(
        link,
        client,
        era="legacy",
        version=agreed[:40] if agreed.isascii() and agreed.isprintable() else version,
        opening=result,
        session_id=reply.headers.get(SESSION_HEADER, ""),
    )
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await link.post(dump(notification), [*conversation.fields(), *(extra or [])], None)
    return reply, conversation


async def open_modern(link: Link, client: Client) -> tuple[Reply, Conversation | None]:
    """`server/discover`."""
    id = next(_ids)
    version = MODERN_VERSIONS[0]
    reply = await _modern(link, client, version, id, "server/discover", {})
    result = reply.result_of(id)
    if result is None:
        return reply, None
    return reply, Conversation(link, client, era="modern", version=version, opening=result)


async def _modern(link: Link, client: Client, version: str, id: int, method: str, params: dict[str, Any]) -> Reply:
    meta = {META_VERSION: version, META_CAPABILITIES: {}, META_CLIENT: client.info}
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
    fields = [*client.credential, (VERSION_HEADER, version), (METHOD_HEADER, method)]
    if (parameter := NAME_PARAM.get(method)) is not None:
        fields.append((NAME_HEADER, encode_value(str(params.get(parameter, "")))))
    return await link.post(dump(message), fields, id)
