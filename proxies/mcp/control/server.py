"""One MCP server as this worker knows it, across snapshots: what it declares, what of it may pass, and who is told.

It lives as long as its proxy is served. Everything here is for the proxies' first worker, which serves all MCP proxies.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import msgspec

from proxies.contract import MAX_OBSERVED_ENTRIES, EntryKind, MCPControl, Observation, ObservedEntry, Trigger
from proxies.mcp.capabilities import change_notices
from proxies.mcp.control.catalogue import Catalogue
from proxies.mcp.control.declarations import LIST_KINDS, Listing
from proxies.mcp.control.holds import Holds
from proxies.mcp.control.judgements import Judgements
from proxies.mcp.control.known_lists import FinishedLists, KnownPage
from proxies.mcp.control.lister import Found, ListingFailed, list_server
from proxies.mcp.control.notices import Listener, tell
from proxies.mcp.control.passing import accepts_instructions, is_accepted
from proxies.mcp.control.subscription import subscribe
from proxies.mcp.control.taint import Taints
from proxies.runtime import ProxyRuntime
from proxies.strict_json import dump

logger = logging.getLogger(__name__)

Identity = tuple[Any, Any]
"""Name and version that a server gives itself."""

LISTING_SECONDS: Final = 30.0
"""How long an own listing may take."""
MAX_LISTINGS: Final = 5
"""Own listings of this worker at the same time."""
MAX_REPORTS_A_MINUTE: Final = 30
REFRESH_PAUSE_SECONDS: Final = 1.0
REPEAT_SECONDS: Final = 5.0
"""A server is not asked again so soon where nothing but a client's call suggests that it has changed."""


class ControlledServer:
    """The server behind one proxy."""

    def __init__(
        self, judgements: Judgements, holds: Holds, taints: Taints, listings: asyncio.Semaphore | None = None
    ) -> None:
        self.catalogue = Catalogue()
        self.control: MCPControl | None = None
        """Of the newest snapshot, also for a call that began under an older one: a withdrawal counts at once."""
        self.runtime: ProxyRuntime | None = None
        self.holds = holds
        self.taints = taints
        self._judgements = judgements
        self._listings = listings or asyncio.Semaphore(MAX_LISTINGS)
        self._own: asyncio.Task[Found] | None = None
        self._own_moment = -1
        self._own_at = 0.0
        """When the last own listing ended well, in monotonic time; 0 before the first."""
        self._tried_at = -math.inf
        self._refresher: asyncio.Task[None] | None = None
        self._refresh_again = False
        self._subscription: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reported: dict[str, str] = {}
        """Digest of what was last reported, by kind; the id of the observation that did it in `_report_ids`."""
        self._report_ids: dict[str, str] = {}
        self._report_times: deque[float] = deque()
        self._identity: Identity | None = None
        """Who the server last said to the gateway that it is."""
        self._other_identity: Identity | None = None
        """Who it said to a client that it is, while it said otherwise to the gateway."""
        self._identity_at = -math.inf
        """When it was last asked because of what it had told a client."""
        self.known_pages: dict[EntryKind, KnownPage] = {kind: KnownPage() for kind in LIST_KINDS}
        self.finished_lists = FinishedLists()
        self.listeners: set[Listener] = set()
        """Open streams to clients, to be told what was approved or withdrawn."""
        self._closed = False

    def __repr__(self) -> str:
        return f"<ControlledServer {self.catalogue!r} {'controlled' if self.control else 'open'}>"

    # --- Snapshots ------------------------------------------------------------------------------------------------

    def attach(self, runtime: ProxyRuntime) -> None:
        """The proxy is served under this snapshot from now on."""
        old, self.runtime = self.runtime, runtime
        self.finished_lists.clear()
        before = self.control
        self.control = runtime.config.mcp.control if runtime.config.mcp is not None else None
        if old is not None and (
            old.upstream is not runtime.upstream or old.config.upstream_auth != runtime.config.upstream_auth
        ):
            self.catalogue.forget()
            self._own_at, self._tried_at = 0.0, -math.inf
            if self._subscription is not None:
                self._subscription.cancel()
            self._reported.clear()
            self._identity = self._other_identity = None
        if before != self.control:
            tell(self.listeners, self.catalogue, before, self.control)

    def close(self) -> None:
        """The proxy is gone."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that ends with the proxy."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._closed:
            task.cancel()
        return task

    # --- What the server declares ---------------------------------------------------------------------------------

    def note_change(self, method: str) -> None:
        """A notification of the server: a list that it calls out of date is read anew before anything else is called."""
        if self.catalogue.note_change(method) and self.control is not None:
            self.refresh_soon()

    def connected(self) -> None:
        """A client has come: the first one has the server listed."""
        if not self._own_at and time.monotonic() - self._tried_at > REPEAT_SECONDS:
            self.refresh_soon()

    async def introduced(self) -> None:
        """Return when what the server says about itself has been judged, as far as somebody is about to ask and judge."""
        self.connected()
        for task in (self._refresher, self._own):
            if task is not None and not task.done():
                await asyncio.wait({task})
        # Whoever asked reports in the same moment.
        await asyncio.sleep(0)
        await self._judgements.wait(self._report_ids.get("server", ""))

    def note_instructions(self, instructions: Any) -> None:
        """A client was given instructions that may not pass. Where they are others than those that the gateway was given,
        the console hears of it, once."""
        fingerprint = _fingerprint({"instructions": instructions})
        if fingerprint in (self._reported.get("instructions"), self._reported.get("other_instructions")):
            return
        self._reported["other_instructions"] = fingerprint
        if self._reported.get("instructions") is not None:
            id = f"obs_{uuid.uuid4().hex}"
            observation = self._observation(id, "connect", (), None)
            problem = "The server gave a client other instructions than the gateway itself."
            self._judgements.report(msgspec.structs.replace(observation, problems=(problem,)))

    def note_identity(self, identity: Identity | None) -> bool:
        """A server told a client who it is. Whether it is asked anew because it had told the gateway something else."""
        now = time.monotonic()
        if identity in (None, self._identity) or self._identity is None or now < self._identity_at + REPEAT_SECONDS:
            return False
        self._identity_at = now
        self.refresh_soon()
        return True

    def note_other_identity(self, identity: Identity | None) -> None:
        """It was asked anew: where it still calls itself otherwise to the gateway, the console hears of it, once."""
        if identity in (None, self._identity, self._other_identity):
            return
        self._other_identity = identity
        observation = self._observation(f"obs_{uuid.uuid4().hex}", "connect", (), None)
        problem = "The server gave a client another name or version than the gateway itself."
        self._judgements.report(msgspec.structs.replace(observation, problems=(problem,)))

    def refresh_soon(self) -> None:
        """List the server in the background; a server that calls its lists out of date all the time is asked at most
        every `REFRESH_PAUSE_SECONDS`."""
        if self._refresher is None or self._refresher.done():
            self._refresher = self.spawn(self._refresh())
        else:
            self._refresh_again = True

    def is_current(self, kind: EntryKind) -> bool:
        """Whether the list of this kind is what the server declares, as far as it has told."""
        return self.catalogue.was_listed(kind, self.catalogue.changed_at(kind))

    async def current(self, kind: EntryKind) -> None:
        """Return when the catalogue is no older than this call, asking the server where need be; raises `ListingFailed`."""
        changed_at = self.catalogue.changed_at(kind)
        while not self.catalogue.was_listed(kind, changed_at):
            await self.listed("list_changed" if self.catalogue.listing(kind) else "connect")

    async def listed_lately(self) -> None:
        """List the server, unless that was done just now; raises `ListingFailed`."""
        if time.monotonic() - self._own_at > REPEAT_SECONDS:
            await self.listed("list")

    async def listed(self, trigger: Trigger) -> None:
        """List the server, report what it declares and wait for the judgement of what is new; raises `ListingFailed`."""
        found = await self._found()
        await self.settle(found.listings, trigger=trigger, server=found.server)

    async def _found(self) -> Found:
        """What the server declares; those who ask at the same time share one listing. Raises `ListingFailed`."""
        wanted = self.catalogue.moment
        task = self._own
        while task is not None and not task.done() and self._own_moment < wanted:
            # It may have read a list before the server changed it.
            await asyncio.wait({task})
            task = self._own
        if task is None or task.done():
            self._own_moment = self.catalogue.moment
            task = self._own = self.spawn(self._list(self._own_moment))
        return await asyncio.shield(task)

    async def discover(self, id: str, trigger: Trigger) -> None:
        """List the server for the console; it hears of it whatever comes of it."""
        try:
            found = await self._found()
        except ListingFailed as error:
            self._judgements.report(
                Observation(id, self._proxy_id, time.time(), trigger, failure=str(error) or "The server failed.")
            )
            return
        self._note_reported(found.listings, id, found.server)
        self._judgements.report(self._observation(id, trigger, found.listings, found.server))

    async def _list(self, moment: int) -> Found:
        runtime = self.runtime
        self._tried_at = time.monotonic()
        if runtime is None:
            raise ListingFailed("The proxy is not served.")
        try:
            async with asyncio.timeout(LISTING_SECONDS), self._listings:
                found = await list_server(runtime, before=self.catalogue.listing, noticed=self.catalogue.note_change)
        except TimeoutError:
            raise ListingFailed(f"The server did not list what it has within {LISTING_SECONDS:.0f} seconds.") from None
        if self.runtime is None or self.runtime.upstream is not runtime.upstream:
            raise ListingFailed("The proxy leads to another server now.")
        self._own_at = time.monotonic()
        for listing in found.listings:
            self.catalogue.keep(listing, moment)
        if found.era == "modern" and (notices := change_notices(found.server.get("capabilities"))):
            self._subscribe(notices)
        return found

    def _subscribe(self, notices: frozenset[str]) -> None:
        if self.control is not None and (self._subscription is None or self._subscription.done()):
            self._subscription = self.spawn(subscribe(self, notices))

    async def _refresh(self) -> None:
        while True:
            self._refresh_again = False
            try:
                await self.listed("list_changed" if self.catalogue.listing("tool") else "connect")
            except ListingFailed as error:
                logger.warning("the server of proxy %s cannot be listed: %s", self._proxy_id, error)
            if not self._refresh_again:
                return
            await asyncio.sleep(REFRESH_PAUSE_SECONDS)

    # --- What the console is told ---------------------------------------------------------------------------------

    async def settle(
        self, listings: Iterable[Listing], *, trigger: Trigger, server: dict[str, Any] | None = None
    ) -> None:
        """Report lists that differ from what was last reported, and wait a moment for the judgement of what is new."""
        control = self.control
        if control is None:
            return
        listings = list(listings)
        news = [one for one in listings if self._reported.get(one.kind) != one.digest]
        fingerprint = "" if server is None else _fingerprint(server)
        if (news or (fingerprint and self._reported.get("server") != fingerprint)) and self._may_report():
            id = f"obs_{uuid.uuid4().hex}"
            self._note_reported(listings, id, server)
            self._judgements.report(self._observation(id, trigger, listings, server))
        awaited = {self._report_ids.get(one.kind, "") for one in listings if not is_accepted(control, one)}
        if server is not None and not accepts_instructions(control, server.get("instructions")):
            awaited.add(self._report_ids.get("server", ""))
        for id in awaited:
            if not await self._judgements.wait(id):
                self._forget_report(id)

    def _forget_report(self, id: str) -> None:
        """The console has not answered: it may never have heard of it, so the next list is reported again."""
        for kind in [kind for kind, reported in self._report_ids.items() if reported == id]:
            self._reported.pop(kind, None)
            del self._report_ids[kind]

    def _may_report(self) -> bool:
        """Whether the console can be bothered now. A server that never says the same twice is not listened to for a while:
        what it declares stays unknown and does not pass."""
        now = time.monotonic()
        while self._report_times and self._report_times[0] < now - 60.0:
            self._report_times.popleft()
        if len(self._report_times) >= MAX_REPORTS_A_MINUTE:
            return False
        self._report_times.append(now)
        return True

    def _note_reported(self, listings: Iterable[Listing], id: str, server: dict[str, Any] | None) -> None:
        for listing in listings:
            self._reported[listing.kind] = listing.digest
            self._report_ids[listing.kind] = id
        if server is not None:
            self._identity = identity_of(server.get("serverInfo"))
            self._reported["server"] = _fingerprint(server)
            self._report_ids["server"] = id
            self._reported["instructions"] = _fingerprint({"instructions": server.get("instructions")})

    def _observation(
        self, id: str, trigger: Trigger, listings: Iterable[Listing], server: dict[str, Any] | None
    ) -> Observation:
        runtime = self.runtime
        assert runtime is not None  # Nothing is observed before the first snapshot.
        entries: list[ObservedEntry] = []
        problems: list[str] = []
        kinds: list[EntryKind] = []
        for listing in listings:
            room = MAX_OBSERVED_ENTRIES - len(entries)
            declared = list(listing.entries.values())
            entries += [ObservedEntry(one.kind, one.name, one.h_raw, one.canonical) for one in declared[:room]]
            problems += listing.problems
            if len(declared) > room:
                problems.append(f"There are more than {MAX_OBSERVED_ENTRIES} entries; the rest is not offered.")
            elif listing.complete:
                kinds.append(listing.kind)
        config = runtime.config
        return Observation(
            id=id,
            proxy_id=config.id,
            at=time.time(),
            trigger=trigger,
            kinds=tuple(kinds),
            entries=tuple(entries),
            server=b"" if server is None else dump(server),
            origin=_origin(runtime),
            tls_key_sha256=runtime.server.tls_key_sha256,
            authenticated=config.upstream_auth.type != "none",
            problems=tuple(problems),
        )

    @property
    def _proxy_id(self) -> str:
        return self.runtime.config.id if self.runtime is not None else ""


def identity_of(info: Any) -> Identity | None:
    """Name and version; what else servers say of themselves may differ from era to era."""
    return (info.get("name"), info.get("version")) if type(info) is dict else None


def server_of(runtime: ProxyRuntime) -> ControlledServer:
    """The server behind an MCP proxy."""
    assert runtime.controlled is not None  # Every proxy of type mcp has one.
    return runtime.controlled


def _origin(runtime: ProxyRuntime) -> str:
    """Where the server is, without credentials."""
    settings = runtime.config.mcp
    if settings is not None and settings.stdio is not None:
        return msgspec.json.encode(settings.stdio.argv).decode()
    scheme, _, rest = runtime.config.target_url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _fingerprint(server: dict[str, Any]) -> str:
    return hashlib.sha256(dump(server)).hexdigest()
