"""Gates: what of an upstream's messages goes to the client, in which form, and when the last one has come. No I/O.

`relay` shows every message of a stream to the gate of that stream, one after the other. A gate inspects through the function
it was given, which raises `Refusal` when a message must not pass, and which does with a large message in a thread what grows
with it; the gate itself only keeps account.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from proxies import off_loop
from proxies.mcp.capabilities import may_ask
from proxies.mcp.control.passing import filtered_result, why_not
from proxies.mcp.legacy_tasks import is_foreign, own_result
from proxies.mcp.messages import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REJECTED_BY_USER,
    Message,
    MessageId,
    error_response,
    parts_of,
    result_response,
)
from proxies.mcp.methods import LISTEN_FILTERS, REQUEST_STREAM_NOTIFICATIONS, SERVER_NOTIFICATIONS
from proxies.mcp.refusals import RPCRefusal, printable, refusal_response, upstream_invalid
from proxies.mcp.sessions import IdTable, Session, remember, take
from proxies.mcp.texts import error_texts, result_texts, server_message_texts
from proxies.refusal import Refusal
from rules.model import Text

logger = logging.getLogger(__name__)

Inspect = Callable[[Callable[[], list[Text]], str, dict[str, Any], int], Awaitable[None]]
"""Inspects one message of the named method, whose texts the first argument collects; raises `Refusal` on a block.

The third argument holds the parts of the message by name; what must be masked or restored in them is changed in place. The
last one is the size of the text in which it came."""
Adapt = Callable[[str, dict[str, Any], int], Awaitable[dict[str, Any]]]
"""Checks and changes the result of a method, of this size, before it is inspected; raises `Refusal`."""

Conform = Callable[[Message], Message | None]
"""The error that takes the place of a result which is not one that its tool gives; None for every other response."""

Deny = Callable[[MessageId | None, Refusal, str], Message]
"""How the request with this id and of this method is answered, whose response may not pass."""

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class Gate(Protocol):
    """What `relay` needs of a gate."""

    allow_batches: bool
    """Whether one event may hold an array of messages (2025-03-26)."""
    dropped: int
    """Messages that did not go to the client because they may not; for the record."""
    replies: list[Message]
    """Messages to send to the upstream on the client's behalf (D-03); `relay` takes them out."""

    @property
    def done(self) -> bool:
        """Whether the stream has served its purpose: the last awaited response has passed."""

    async def take(self, message: Message, size: int = 0) -> Message | None:
        """The message for the client, or None to drop it; raises `Refusal` to end the stream. `size` is that of the text in
        which it came. The next message waits until this one is done."""

    def unanswered(self) -> list[MessageId]:
        """Ids that still wait for a response."""

    def method_of(self, id: MessageId) -> str:
        """The method of a request that still waits for one."""

    def farewell(self) -> Message | None:
        """What to say last when the gateway itself ends a stream that has no end of its own."""

    def notice(self, method: str) -> Message | None:
        """A notification of the gateway itself as it may stand on this stream, or None."""


class _Gate:
    """What all gates share."""

    def __init__(self) -> None:
        self.dropped = 0
        self.replies: list[Message] = []

    def notice(self, method: str) -> Message | None:
        """See `Gate`: streams that end with a response carry none."""
        return None

    def _drop(self, what: str) -> None:
        """Count a message that does not pass. Only the first of a stream is logged: a hostile upstream has many."""
        self.dropped += 1
        if self.dropped == 1:
            logger.warning("dropped from an upstream's stream: %s", what)


class LegacyGate(_Gate):
    """The stream that answers a legacy POST: notifications, server requests and the responses to `awaited`.

    `conform` and `deny` are for several answers at once, of which one must not take the others with it (L-07); where
    there is only one, `inspect` refuses what its tool does not give, and a blocked response ends the stream."""

    def __init__(
        self,
        session: Session,
        awaited: IdTable,
        inspect: Inspect,
        conform: Conform | None = None,
        deny: Deny | None = None,
    ) -> None:
        super().__init__()
        self._conform = conform
        self._deny = deny
        self.allow_batches = session.version == "2025-03-26"
        self._session = session
        self._awaited = awaited
        self._inspect = inspect

    @property
    def done(self) -> bool:
        """Every awaited response has come."""
        return not self._awaited

    async def take(self, message: Message, size: int = 0) -> Message | None:
        """See `Gate`."""
        if message.kind == "response":
            try:
                return await self._response(message, size)
            except Refusal as refusal:
                if self._deny is None or refusal.outcome != "blocked":
                    raise
                return self._denied(message, refusal, self._deny)
        if message.kind == "request":
            return await self._server_request(message, size)
        if message.method not in SERVER_NOTIFICATIONS:
            self._drop(f"the unknown notification {printable(message.method)}")
            return None
        if is_foreign(self._session, message):
            self._drop("a notification about a task of somebody else")
            return None
        if self._session.controlled is not None:
            self._session.controlled.note_change(message.method)
        await self._inspect(partial(server_message_texts, message), message.method, parts_of(message), size)
        return message

    def unanswered(self) -> list[MessageId]:
        """See `Gate`."""
        return [id for _, id in self._awaited]

    def method_of(self, id: MessageId) -> str:
        """See `Gate`."""
        return self._awaited.get((type(id), id), "")

    def _denied(self, message: Message, refusal: Refusal, deny: Deny) -> Message:
        """What answers a request whose response may not pass, in the place of that response alone."""
        take(self._session.client_requests, message.id)
        take(self._session.called_tools, message.id)
        return deny(message.id, refusal, take(self._awaited, message.id) or "")

    def farewell(self) -> Message | None:
        """Nothing: the eras before 2026 know no last message."""
        return None

    async def _response(self, message: Message, size: int) -> Message | None:
        method = None if message.id is None else self._awaited.get((type(message.id), message.id))
        if method is None:
            self._drop("a response to a request that was not made on this stream")
            return None
        if message.error is not None:
            await self._inspect(partial(error_texts, message.error), method, parts_of(message), size)
        else:
            if is_foreign(self._session, message):
                raise upstream_invalid("The upstream answered with the result of another task.")
            assert message.id is not None  # A result without id does not parse.
            session = self._session
            control = session.controlled.control if session.controlled is not None else None
            result = own_result(session, method, message.result or {})
            filtered = partial(filtered_result, control, method, result, session.principal_id)
            result = await off_loop.sized(size, filtered)
            message = await self._conforming(result_response(message.id, result), method, size)
        # Only now: a response that must not pass leaves its request open, to be answered with the refusal.
        if take(self._awaited, message.id) is None:
            self._drop("a response that came on another stream meanwhile")
            return None
        take(self._session.client_requests, message.id)
        take(self._session.called_tools, message.id)
        return message

    async def _conforming(self, message: Message, method: str, size: int) -> Message:
        """A result that was inspected, or the error in its place."""
        error = await self._nonconformity(message, size)
        if error is None:
            texts = partial(result_texts, method, message.result or {})
            await self._inspect(texts, method, parts_of(message), size)
        return error or message

    async def _nonconformity(self, message: Message, size: int) -> Message | None:
        return None if self._conform is None else await off_loop.sized(size, partial(self._conform, message))

    async def _server_request(self, message: Message, size: int) -> Message | None:
        assert message.id is not None  # parse_message gives every request an id.
        if not may_ask(message.method, message.params, self._session.capabilities) or is_foreign(
            self._session, message
        ):
            self._drop(f"the request {printable(message.method)}, which the client did not declare")
            self.replies.append(error_response(message.id, METHOD_NOT_FOUND, "Method not found"))
            return None
        try:
            await self._inspect(partial(server_message_texts, message), message.method, parts_of(message), size)
        except Refusal as refusal:
            if refusal.outcome != "blocked":
                raise
            self._drop(f"the blocked request {printable(message.method)}")
            self.replies.append(declined(message))
            return None
        remember(self._session.server_requests, message.id, message.method)
        return message


class SessionGate(LegacyGate):
    """A legacy GET stream (L-08): no response of its own, except on resumption. A block concerns one message only."""

    def __init__(
        self,
        session: Session,
        awaited: IdTable,
        inspect: Inspect,
        conform: Conform | None = None,
        *,
        ref: str,
        deny: Deny | None = None,
    ) -> None:
        """`deny` says how the request whose response is blocked is answered, where not as an error."""
        super().__init__(session, awaited, inspect, conform, deny or partial(_as_error, ref))
        self._ref = ref

    @property
    def done(self) -> bool:
        """It ends when one side closes it."""
        return False

    async def _response(self, message: Message, size: int) -> Message | None:
        self._check_still_passes(message)
        return await super()._response(message, size)

    def _check_still_passes(self, message: Message) -> None:
        """What is fetched later counts as of now: the result of a tool that may not pass any more does not (L-09)."""
        controlled = self._session.controlled
        name = None if message.id is None else self._session.called_tools.get((type(message.id), message.id))
        if name is None or controlled is None or controlled.control is None:
            return
        declaration = controlled.catalogue.find("tool", name)
        if declaration is None or why_not(controlled.control, declaration, self._session.principal_id):
            self._drop("the result of a tool that may not pass any more")
            raise RPCRefusal(
                200,
                INVALID_PARAMS,
                "mcp_tool_filtering",
                f"Unknown tool: {printable(name)}",
                data={"ref": self._ref},
                outcome="blocked",
            )

    def notice(self, method: str) -> Message | None:
        """See `Gate`: what the session was offered."""
        return Message(kind="notification", method=method) if method in self._session.offered_notices else None

    async def take(self, message: Message, size: int = 0) -> Message | None:
        """See `Gate`."""
        try:
            return await super().take(message, size)
        except Refusal as refusal:
            if refusal.outcome != "blocked":
                raise
            self._drop(f"the blocked notification {printable(message.method)}")
            return None

    def unanswered(self) -> list[MessageId]:
        """Nobody waits on this stream; a resumed request may come on the next one."""
        return []


class ModernGate(_Gate):
    """The stream that answers one modern request: its notifications, then exactly one response (M-12)."""

    allow_batches = False

    def __init__(self, request: Message, *, wants_log: bool, inspect: Inspect, adapt: Adapt) -> None:
        super().__init__()
        self._request = request
        self._wants_log = wants_log
        self._inspect = inspect
        self._adapt = adapt
        self._answered = False

    @property
    def done(self) -> bool:
        """The response has passed."""
        return self._answered

    async def take(self, message: Message, size: int = 0) -> Message | None:
        """See `Gate`."""
        if message.kind == "request":
            raise upstream_invalid("The upstream sent a request, which this protocol version forbids.")
        if message.kind == "response":
            return await self._response(message, size)
        if not self._may_pass(message):
            self._drop(f"the notification {printable(message.method)}")
            return None
        await self._inspect(partial(server_message_texts, message), message.method, parts_of(message), size)
        return message

    def unanswered(self) -> list[MessageId]:
        """See `Gate`."""
        return [] if self._answered or self._request.id is None else [self._request.id]

    def method_of(self, id: MessageId) -> str:
        """See `Gate`."""
        return self._request.method

    def farewell(self) -> Message | None:
        """Nothing: a call is answered by the upstream or not at all."""
        return None

    def _may_pass(self, message: Message) -> bool:
        if message.method == "notifications/message":
            return self._wants_log
        return message.method in REQUEST_STREAM_NOTIFICATIONS

    async def _response(self, message: Message, size: int) -> Message:
        if (type(message.id), message.id) != (type(self._request.id), self._request.id):
            raise upstream_invalid("The upstream answered a request that was not made.")
        method = self._request.method
        if message.error is not None:
            await self._inspect(partial(error_texts, message.error), method, parts_of(message), size)
            passed = message
        else:
            result = await self._adapt(method, message.result or {}, size)
            await self._inspect(partial(result_texts, method, result), method, {"result": result}, size)
            assert message.id is not None  # A result without id does not parse.
            passed = result_response(message.id, result)
        self._answered = True
        return passed


class ListenGate(ModernGate):
    """The stream of `subscriptions/listen`: an acknowledgement, then only what was asked for (M-14)."""

    def __init__(
        self, request: Message, *, inspect: Inspect, adapt: Adapt, noticed: Callable[[str], object] | None = None
    ) -> None:
        """`noticed` hears of the method of every notification of the server, whether it passes or not."""
        super().__init__(request, wants_log=False, inspect=inspect, adapt=adapt)
        self._noticed = noticed
        wanted = (request.params or {}).get("notifications")
        self._filter: dict[str, Any] = wanted if type(wanted) is dict else {}
        self._acknowledged = False

    def notice(self, method: str) -> Message | None:
        """See `Gate`: what the client asked for, once the server has said that there is a subscription."""
        if not self._acknowledged or self._filter.get(LISTEN_FILTERS.get(method, "")) is not True:
            return None
        meta = {SUBSCRIPTION_ID: self._request.id}
        return Message(kind="notification", method=method, params={"_meta": meta})

    def farewell(self) -> Message | None:
        """The result that ends a subscription (M-14)."""
        assert self._request.id is not None  # A request has an id.
        ended = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: self._request.id}}
        return result_response(self._request.id, ended)

    async def take(self, message: Message, size: int = 0) -> Message | None:
        """See `Gate`."""
        if message.kind == "notification" and self._noticed is not None:
            self._noticed(message.method)
        return await super().take(message, size)

    def _may_pass(self, message: Message) -> bool:
        if message.method == "notifications/cancelled":
            # How some servers end a subscription instead of answering it.
            return (message.params or {}).get("requestId") == self._request.id
        meta = (message.params or {}).get("_meta")
        subscription = meta.get(SUBSCRIPTION_ID) if type(meta) is dict else None
        if (type(subscription), subscription) != (type(self._request.id), self._request.id):
            return False
        if message.method == ACKNOWLEDGED:
            self._acknowledged = True
            return True
        if not self._acknowledged:
            raise upstream_invalid("The upstream did not acknowledge the subscription first.")
        wanted = self._filter.get(LISTEN_FILTERS.get(message.method, ""))
        if message.method == "notifications/tasks":
            return type(wanted) is list and (message.params or {}).get("taskId") in wanted
        if message.method == "notifications/resources/updated":
            return type(wanted) is list and _is_below((message.params or {}).get("uri"), wanted)
        return wanted is True


def _as_error(ref: str, id: MessageId | None, refusal: Refusal, _method: str) -> Message:
    return refusal_response(id, refusal, ref)


def _is_below(uri: Any, wanted: list[Any]) -> bool:
    """Whether a URI is one of the wanted ones or a part of one."""
    return type(uri) is str and any(
        type(one) is str and (uri == one or uri.startswith(one.rstrip("/") + "/")) for one in wanted
    )


def declined(message: Message) -> Message:
    """What the client would say to a request that its user does not want (D-03)."""
    assert message.id is not None  # Only requests are declined.
    if message.method == "elicitation/create":
        return result_response(message.id, {"action": "decline"})
    return error_response(message.id, REJECTED_BY_USER, "Rejected by gateway policy")
