"""Goes through everything that the scanner wants to know about one server, from the harmless to the confirmed."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from proxies.mcp.eras import LEGACY_VERSIONS
from proxies.mcp.upstream import SESSION_HEADER
from proxies.scan import active, authorization
from proxies.scan.channel_way import ChannelWay
from proxies.scan.conversation import Client, Conversation, open_legacy, open_modern
from proxies.scan.link import Fields, Link, Reply
from proxies.scan.listing import LISTS, Listing, list_all
from rules.pinning.baseline import Origin
from rules.scanning.assess import differences
from rules.scanning.facts import (
    AccessFacts,
    BoundaryFacts,
    ErrorAnswer,
    ServerFacts,
    SessionFacts,
    Topic,
)

SCANNER: Final = "ostiary-scan"
OTHER_CLIENT: Final = "claude-ai"
"""The client that users have most, and that a server would lie to last."""
MAX_REVIVALS: Final = 20
"""How often a server that a probe has ended is opened anew."""
NO_TOOL: Final = "ostiary_scan_no_such_tool"
FOREIGN_ORIGIN: Final = "https://scan.ostiary.invalid"
MAX_SESSION_IDS: Final = 6
_SOFTWARE: Final = ("server", "x-powered-by", "x-aspnet-version", "x-runtime")

Progress = Callable[[int, str], None]


class Way(msgspec.Struct):
    """How a server is reached. What is None does not exist for it, as a host name for a process."""

    connect: Callable[[], Awaitable[Link]] | None = None
    """A link for one conversation: a process of its own, or the shared HTTP."""
    channels: ChannelWay | None = None
    """In place of `connect` where a credential, an Origin and a Host belong to the opening of a channel."""
    foreign_authority: str = ""
    """A Host of another site, for `channels`."""
    foreign_host: Link | None = None
    """HTTP with the Host of another site."""
    fetch: authorization.Fetch | None = None
    remove: Callable[[Fields], Awaitable[Reply]] | None = None
    """DELETE on the endpoint, which ends a session."""


class Counting:
    """A link that counts, and notes what the fields of all answers tell."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.requests = 0
        self.headers: dict[str, str] = {}
        self.limited = False

    async def post(self, body: bytes, headers: Fields, wanted: int | str | None) -> Reply:
        """See `Link`."""
        reply = await self._link.post(body, headers, wanted)
        self.requests += 1
        self.headers |= {name: reply.headers[name] for name in _SOFTWARE if name in reply.headers}
        signs = any(name.startswith(("ratelimit", "x-ratelimit")) or name == "retry-after" for name in reply.headers)
        self.limited = self.limited or reply.status == 429 or signs
        return reply

    async def aclose(self) -> None:
        """See `Link`."""
        await self._link.aclose()


class Prober:
    """One scan. `facts()` is what is known so far, also when the deadline has cut the scan short."""

    def __init__(self, base: ServerFacts, way: Way, credential: Fields, progress: Progress) -> None:
        self._facts = base
        self._way = way
        self._client = Client(SCANNER, credential=credential)
        self._progress = progress
        self._links: list[Counting] = []
        self._opened: list[Conversation] = []
        self._gathered: list[Topic] = []
        self._session_ids: list[str] = []
        self._versions: list[str] = []
        self._revivals = 0

    def __repr__(self) -> str:
        return f"<Prober {self._facts.target}>"

    def facts(self) -> ServerFacts:
        """Everything that is known."""
        headers: dict[str, str] = {}
        for link in self._links:
            headers |= link.headers
        return msgspec.structs.replace(
            self._facts,
            gathered=tuple(self._gathered),
            requests=sum(link.requests for link in self._links),
            rate_limit_seen=any(link.limited for link in self._links),
            server_headers=headers,
        )

    async def run(self, *, with_active: bool) -> None:
        """Ask everything; `facts()` has the answers."""
        self._progress(2, "connecting")
        conversation = await self._open()
        if conversation is None:
            return
        self._progress(25, "reading what the server declares")
        listing = await list_all(conversation, self._facts.description.origin)
        self._note(
            "lists",
            description=listing.description,
            methods=(_opening_method(conversation), *listing.methods),
            list_problems=listing.problems,
            list_bytes=listing.size,
        )
        self._progress(45, "asking again, and as another client")
        await self._repeat(conversation, listing)
        if self._facts.transport != "stdio":
            self._progress(60, "asking without a credential")
            await self._access(conversation)
            self._progress(72, "trying sessions, origins and host names")
            await self._sessions(conversation)
            await self._boundary(conversation)
        self._progress(82, "sending requests that cannot succeed")
        last = await self._errors(conversation)
        if with_active:
            self._progress(88, "calling tools")
            await self._active(last)
        self._progress(98, "done")

    async def close(self) -> None:
        """End the sessions and let go of the links."""
        if self._way.remove is not None:
            for session_id in dict.fromkeys(self._session_ids):
                fields = [*self._client.credential, (SESSION_HEADER, session_id)]
                await self._way.remove(fields)
        for link in self._links:
            await link.aclose()

    # --- Topics ---------------------------------------------------------------------------------------------------

    async def _open(self) -> Conversation | None:
        """Every version that the server agrees to; the conversation in the newest one."""
        reply, newest = await open_modern(await self._link(), self._client)
        if newest is not None:
            self._versions.append(newest.version)
        if reply.lost and reply.problem in ("upstream_tls_error", "upstream_dns_error", "upstream_unreachable"):
            if reply.problem == "upstream_tls_error":
                self._note("reach", tls_problem=reply.text)
            self._facts = msgspec.structs.replace(self._facts, unreachable=reply.text)
            return None
        self._gathered.append("reach")
        refusal = reply
        # Each conversation with a process costs a process: there the newest version says enough.
        versions = LEGACY_VERSIONS[-1:] if self._facts.transport == "stdio" else LEGACY_VERSIONS
        for version in reversed(versions):
            reply, conversation = await open_legacy(await self._link(), self._client, version)
            if conversation is not None:
                self._keep_session(conversation)
                newest = newest or conversation
                if conversation.version not in self._versions:
                    self._versions.append(conversation.version)
            elif reply.status in (401, 403):
                refusal = reply
                break
        if newest is None:
            await self._refused(refusal)
            return None
        self._note("versions", versions=tuple(self._versions))
        return newest

    async def _refused(self, reply: Reply) -> None:
        """Nobody gets in: what can be said is how the refusal looks."""
        if reply.status not in (401, 403):
            words = reply.text[:200] or f"HTTP {reply.status}"
            self._facts = msgspec.structs.replace(
                self._facts, unreachable=f"The server does not speak MCP at this address: {words}"
            )
            return
        has_credential = bool(self._client.credential)
        self._facts = msgspec.structs.replace(
            self._facts,
            unreachable="The server refuses the credential." if has_credential else "The server asks for a credential.",
        )
        self._note("authentication", access=AccessFacts(has_credential, refused_status=reply.status))
        await self._authorization(reply)

    async def _repeat(self, conversation: Conversation, first: Listing) -> None:
        again = await list_all(conversation, self._facts.description.origin)
        self._note("repeat", repeated=differences(first.description, again.description))
        other = Client(OTHER_CLIENT, "0.1.0", self._client.credential)
        opened = await self._open_like(conversation, other)
        if opened is not None:
            told = await list_all(opened, self._facts.description.origin)
            self._note(
                "other_client",
                other_client=differences(first.description, told.description),
                other_client_name=OTHER_CLIENT,
            )

    async def _access(self, conversation: Conversation) -> None:
        has_credential = bool(self._client.credential)
        if not has_credential:
            self._note(
                "authentication",
                access=AccessFacts(
                    anonymous_methods=self._facts.methods, anonymous_call=await _reaches_tools(conversation)
                ),
            )
            return
        nobody = await self._open_like(conversation, Client(SCANNER))
        if nobody is not None:
            methods = [_opening_method(nobody)]
            for method, _, _ in LISTS:
                if (await nobody.request(method))[1] is not None:
                    methods.append(method)
            access = AccessFacts(True, tuple(methods), await _reaches_tools(nobody))
            self._note("authentication", access=access)
            return
        refusal = self._last_refusal
        invented = Client(SCANNER, credential=[("authorization", f"Bearer ostiary-scan-{secrets.token_hex(16)}")])
        stranger = await self._open_like(conversation, invented)
        access = AccessFacts(True, refused_status=refusal.status, wrong_credential_accepted=stranger is not None)
        self._note("authentication", access=access)
        await self._authorization(refusal)

    async def _authorization(self, refusal: Reply) -> None:
        if self._way.fetch is None:
            return
        found = await authorization.gather(self._facts.target, refusal, self._way.fetch)
        access = msgspec.structs.replace(self._facts.access, authorization=found)
        self._note("authorization_metadata", access=access)

    async def _sessions(self, conversation: Conversation) -> None:
        if (channels := self._way.channels) is not None:
            if self._facts.transport == "sse":
                unknown = await channels.accepts_unknown(self._client.credential)
                self._note("sessions", sessions=SessionFacts(channels.handles(), unknown))
            return
        accepts_unknown = False
        if conversation.era == "legacy" and conversation.session_id:
            id = secrets.token_hex(16)
            invented = Conversation(
                conversation.link,
                conversation.client,
                era="legacy",
                version=conversation.version,
                opening={},
                session_id=id,
            )
            accepts_unknown = (await invented.request("tools/list"))[1] is not None
        ids = tuple(self._session_ids[:MAX_SESSION_IDS])
        self._note("sessions", sessions=SessionFacts(ids, accepts_unknown))

    async def _boundary(self, conversation: Conversation) -> None:
        if (channels := self._way.channels) is not None:
            await self._channel_boundary(channels)
            return
        origin = await self._open_reply(conversation, await self._link(), [("origin", FOREIGN_ORIGIN)])
        facts = BoundaryFacts(
            foreign_origin_status=origin.status,
            allow_origin=origin.headers.get("access-control-allow-origin", "")[:200],
            sent_origin=FOREIGN_ORIGIN,
        )
        self._note("origin", boundary=facts)
        if self._way.foreign_host is not None:
            host = await self._open_reply(conversation, self._way.foreign_host, [])
            status = host.status if host.messages or host.status >= 300 else 0
            self._note("host", boundary=msgspec.structs.replace(facts, foreign_host_status=status))

    async def _channel_boundary(self, channels: ChannelWay) -> None:
        """The same of what opens a channel: behind that nobody asks again."""
        credential = self._client.credential
        origin = await channels.handshake([*credential, ("origin", FOREIGN_ORIGIN)])
        facts = BoundaryFacts(
            foreign_origin_status=origin.status,
            allow_origin=origin.headers.get("access-control-allow-origin", "")[:200],
            sent_origin=FOREIGN_ORIGIN,
        )
        self._note("origin", boundary=facts)
        host = await channels.handshake(credential, self._way.foreign_authority)
        self._note("host", boundary=msgspec.structs.replace(facts, foreign_host_status=host.status))

    async def _errors(self, conversation: Conversation) -> Conversation | None:
        """Requests that cannot succeed; returns what is still open after them."""
        answers: list[ErrorAnswer] = []
        alive: Conversation | None = conversation
        for probe in ("unknown_method", "unknown_tool", "malformed"):
            if alive is None:
                break
            reply = await self._failing(alive, probe)
            answers.append(ErrorAnswer(probe=probe, status=reply.status, text=reply.text, lost=reply.lost))
            alive = await self._revived(alive, reply)
        self._note("errors", errors=tuple(answers))
        return alive

    async def _failing(self, conversation: Conversation, probe: str) -> Reply:
        if probe == "unknown_method":
            return (await conversation.request("ostiary/no-such-method"))[0]
        if probe == "unknown_tool":
            return (await conversation.request("tools/call", {"name": NO_TOOL, "arguments": {}}))[0]
        fields = conversation.fields() if conversation.era == "legacy" else list(self._client.credential)
        return await conversation.link.post(b'{"jsonrpc": "2.0", "id": 1, ', fields, None)

    async def _active(self, conversation: Conversation | None) -> None:
        is_local = self._facts.is_loopback or self._facts.transport == "stdio"
        tools = self._facts.description.tools
        answers, called, skipped = await active.probe_tools(
            conversation, tools, is_local=is_local, revive=self._revived
        )
        self._gathered.append("traffic")
        self._note("active", tool_answers=answers, probed_tools=called, skipped_tools=skipped)

    async def _revived(self, conversation: Conversation, reply: Reply) -> Conversation | None:
        """The conversation, or one like it where the reply ended it and the server can still be reached."""
        if not reply.lost:
            return conversation
        self._revivals += 1
        if self._revivals > MAX_REVIVALS:
            return None
        try:
            return await self._open_like(conversation, self._client)
        except OSError:
            return None

    # --- Conversations --------------------------------------------------------------------------------------------

    _last_refusal = Reply()

    async def _open_like(self, conversation: Conversation, client: Client) -> Conversation | None:
        """Another conversation in the same era."""
        link = await self._link(client.credential)
        if conversation.era == "modern":
            self._last_refusal, opened = await open_modern(link, client)
        else:
            self._last_refusal, opened = await open_legacy(link, client, conversation.version)
            if opened is not None:
                self._keep_session(opened)
        return opened

    async def _open_reply(self, conversation: Conversation, link: Link, extra: Fields) -> Reply:
        """What the first message of a conversation is answered with."""
        client = Client(SCANNER, credential=[*self._client.credential, *extra])
        if conversation.era == "modern":
            return (await open_modern(link, client))[0]
        reply, opened = await open_legacy(link, client, conversation.version)
        if opened is not None:
            self._keep_session(opened)
        return reply

    def _keep_session(self, conversation: Conversation) -> None:
        if conversation.session_id and len(self._session_ids) < 50:
            self._session_ids.append(conversation.session_id)

    async def _link(self, credential: Fields | None = None) -> Link:
        """A link for one conversation, with the scan's own credential unless another one is given."""
        if self._way.channels is not None:
            opened = await self._way.channels.link(self._client.credential if credential is None else credential)
        else:
            assert self._way.connect is not None  # A way has one of the two.
            opened = await self._way.connect()
        link = Counting(opened)
        self._links.append(link)
        return link

    def _note(self, topic: Topic, **changes: Any) -> None:
        self._facts = msgspec.structs.replace(self._facts, **changes)
        if topic not in self._gathered:
            self._gathered.append(topic)


def _opening_method(conversation: Conversation) -> str:
    return "server/discover" if conversation.era == "modern" else "initialize"


async def _reaches_tools(conversation: Conversation) -> bool:
    """Whether a call gets as far as the tools: the one of a tool that does not exist is answered for that reason."""
    reply, result = await conversation.request("tools/call", {"name": NO_TOOL, "arguments": {}})
    return result is not None or (200 <= reply.status < 300 and any("error" in one for one in reply.messages))


def origin_of(target: str, command: tuple[str, ...] = ()) -> Origin:
    """How the server is reached, for its description."""
    return Origin(url="" if command else target, command=command)
