"""Replays as jobs: started, watched, cancelled, found again until the console stops.

The calls are read a page at a time, each in a transaction of its own, and judged on the workbench, so that neither the
database nor the loop is held. The newest few replays are kept in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import func, select

from app import clock, ids
from app.access.repository import ApiKeyRepository
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import AppError, Conflict
from app.fleet.assignments import fitting
from app.fleet.errors import ProxyNotFound
from app.fleet.models import Proxy
from app.fleet.repository import ProxyRepository
from app.policies import documents
from app.policies.errors import NothingToPublish, PolicyInvalid, ReplayNotFound
from app.policies.evaluation import Evaluator
from app.policies.in_force import names_in_force
from app.policies.library import PolicyLibrary
from app.policies.replay import Rejudged, Replayer
from app.policies.service import PolicyService
from app.policies.trial_schemas import ReplayedCall, ReplayedReason, ReplayView, StartReplay, UndecidedCall
from app.policies.workbench import Workbench
from app.security.permissions import Actor
from app.security.vault import Vault
from app.traffic.captured import CapturedCall, CapturedTexts
from app.traffic.models import CallText
from rules.policy import Policy

logger = logging.getLogger(__name__)

MAX_KEPT = 20
MAX_RUNNING = 2
MAX_CHANGES = 500
MAX_UNDECIDED = 100
MAX_REASONS = 50
BATCH_CALLS = 50
_Replayers = dict[tuple[str, tuple[str, ...]], Replayer | None]
"""By proxy and the policies of a key, none for all keys without their own; None where the draft says nothing about them."""


class TooManyReplays(Conflict):
    code = "too_many_replays"
    default_message = f"{MAX_RUNNING} replays are running."
    default_remediation = "Wait until one has finished, or cancel it."


class Replay:
    """One replay: what was asked, and how far it is."""

    def __init__(
        self,
        actor: Actor,
        policy: Policy,
        asked: StartReplay,
        proxies: Sequence[Proxy],
        version: int | None,
        named: Mapping[str, Sequence[str]],
        of_keys: Mapping[str, Sequence[str]],
    ) -> None:
        self.id = ids.new_id("rpl")
        self.tenant_id = actor.tenant_id
        self.started_by = actor.username
        self.started_at = clock.utcnow()
        self.finished_at: datetime | None = None
        self.policy = policy
        self.asked = asked
        self.proxies = {proxy.id: proxy for proxy in proxies}
        self.version = version
        self.named = named
        """The policies of each proxy: its own and those of its tags, or those of all proxies."""
        self.of_keys = of_keys
        """The policies of each key that has its own: its calls come under them and no others."""
        self.state = "running"
        self.error = ""
        self.total = self.done = self.skipped = 0
        self.blocked_before = self.blocked_after = self.newly_blocked = self.newly_allowed = self.changed = 0
        self.undecided = self.partial = 0
        self.changes: list[ReplayedCall] = []
        self.reasons: dict[str, ReplayedReason] = {}
        """By the rule that decides; a policy has a limited number of rules."""
        self.open: list[UndecidedCall] = []
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Replay {self.id} {self.policy.name} {self.state} {self.done}/{self.total}>"

    def count(self, judged: Rejudged | None) -> None:
        """Take one call into account."""
        self.done += 1
        if judged is None:
            self.skipped += 1
            return
        self.partial += judged.is_partial
        if judged.missing:
            self._leave_open(judged)
            return
        self.blocked_before += judged.before == "blocked"
        self.blocked_after += judged.after == "blocked"
        if judged.before == judged.after:
            return
        self.changed += 1
        self.newly_blocked += judged.after == "blocked"
        self.newly_allowed += judged.before == "blocked"
        self._count_reason(judged)
        if len(self.changes) < MAX_CHANGES:
            self.changes.append(
                ReplayedCall(
                    call_id=judged.call.call_id,
                    proxy_id=judged.call.proxy_id,
                    started_at=judged.call.started_at,
                    operation=judged.call.operation,
                    before=judged.before,
                    after=judged.after,
                    rule_id=judged.verdict.decision.rule_id,
                    reason=judged.verdict.reason,
                )
            )

    def _count_reason(self, judged: Rejudged) -> None:
        rule_id, reason = judged.verdict.decision.rule_id, judged.verdict.reason
        known = self.reasons.get(rule_id) or ReplayedReason(
            rule_id=rule_id, reason=reason, newly_blocked=0, newly_allowed=0, other=0
        )
        self.reasons[rule_id] = msgspec.structs.replace(
            known,
            newly_blocked=known.newly_blocked + (judged.after == "blocked"),
            newly_allowed=known.newly_allowed + (judged.before == "blocked"),
            other=known.other + ("blocked" not in (judged.before, judged.after)),
        )

    def _leave_open(self, judged: Rejudged) -> None:
        """Count a call of which not enough is known."""
        self.undecided += 1
        if len(self.open) < MAX_UNDECIDED:
            self.open.append(
                UndecidedCall(
                    call_id=judged.call.call_id,
                    proxy_id=judged.call.proxy_id,
                    started_at=judged.call.started_at,
                    operation=judged.call.operation,
                    before=judged.before,
                    missing=list(judged.missing),
                )
            )

    def view(self) -> ReplayView:
        """The replay as the API shows it."""
        return ReplayView(
            id=self.id,
            policy=self.policy.name,
            source=self.asked.source,
            version=self.version,
            state=self.state,
            error=self.error,
            days=self.asked.days,
            proxy_ids=sorted(self.proxies),
            started_by=self.started_by,
            started_at=self.started_at,
            finished_at=self.finished_at,
            total=self.total,
            done=self.done,
            skipped=self.skipped,
            blocked_before=self.blocked_before,
            blocked_after=self.blocked_after,
            newly_blocked=self.newly_blocked,
            newly_allowed=self.newly_allowed,
            changed=self.changed,
            changes=list(self.changes),
            reasons=sorted(self.reasons.values(), key=_how_often, reverse=True)[:MAX_REASONS],
            undecided=self.undecided,
            undecided_calls=list(self.open),
            partial=self.partial,
        )


def _how_often(reason: ReplayedReason) -> int:
    return reason.newly_blocked + reason.newly_allowed + reason.other


class Replays:
    """The replays of this console."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        library: PolicyLibrary,
        policies: PolicyService,
        evaluator: Evaluator,
        workbench: Workbench,
        vault: Vault,
    ) -> None:
        self._database = database
        self._audit = audit
        self._library = library
        self._policies = policies
        self._evaluator = evaluator
        self._workbench = workbench
        self._vault = vault
        self._replays: OrderedDict[str, Replay] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Replays {len(self._replays)}>"

    async def start(self, actor: Actor, name: str, asked: StartReplay) -> ReplayView:
        """Begin to replay a policy; raises PolicyNotFound, ProxyNotFound, NothingToPublish, PolicyInvalid, TooManyReplays."""
        if sum(replay.state == "running" for replay in self._replays.values()) >= MAX_RUNNING:
            raise TooManyReplays
        if self._library.is_shipped(name):  # It never has a draft, whatever is asked for by default.
            asked = msgspec.structs.replace(asked, source="published")
        policy, version = await self._wanted(actor, name, asked.source)
        async with self._database.reader() as session:
            proxies = await ProxyRepository(session, actor.tenant_id).all()
            named = await names_in_force(session, actor.tenant_id, self._library, proxies)
            of_keys = await ApiKeyRepository(session, actor.tenant_id).policy_names()
        if unknown := set(asked.proxy_ids) - {proxy.id for proxy in proxies}:
            raise ProxyNotFound(f"There is no proxy {min(unknown)}.")
        chosen = [proxy for proxy in proxies if proxy.id in asked.proxy_ids]
        if not chosen and not any(name in names for names in of_keys.values()):
            chosen = [proxy for proxy in proxies if name in named[proxy.id]]
        if not chosen:
            chosen = [proxy for proxy in proxies if policy.applies_to(proxy.type)]
        replay = Replay(actor, policy, asked, chosen, version, named, of_keys)
        self._replays[replay.id] = replay
        for old in [kept.id for kept in self._replays.values() if kept.state != "running"]:
            if len(self._replays) > MAX_KEPT:
                del self._replays[old]
        replay.task = asyncio.create_task(self._run(replay), name=f"replay-{replay.id}")
        async with self._database.writer() as session:
            await self._audit.record(
                session,
                "policy.replayed",
                actor=actor,
                resource=("policy", name, name),
                details={"source": asked.source, "days": asked.days, "proxies": len(chosen)},
            )
        return replay.view()

    def get(self, actor: Actor, replay_id: str) -> ReplayView:
        """How far a replay is; raises ReplayNotFound."""
        return self._existing(actor, replay_id).view()

    def of_policy(self, actor: Actor, name: str) -> list[ReplayView]:
        """The replays of a policy, newest first."""
        found = [kept for kept in self._replays.values() if kept.tenant_id == actor.tenant_id]
        return [replay.view() for replay in reversed(found) if replay.policy.name == name]

    def cancel(self, actor: Actor, replay_id: str) -> ReplayView:
        """Stop a replay; what it has found stays. Raises ReplayNotFound."""
        replay = self._existing(actor, replay_id)
        if replay.state == "running" and replay.task is not None:
            replay.state, replay.finished_at = "cancelled", clock.utcnow()
            replay.task.cancel()
        return replay.view()

    async def stop(self) -> None:
        """End what runs: the console stops."""
        tasks = [replay.task for replay in self._replays.values() if replay.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _existing(self, actor: Actor, replay_id: str) -> Replay:
        replay = self._replays.get(replay_id)
        if replay is None or replay.tenant_id != actor.tenant_id:
            raise ReplayNotFound
        return replay

    async def _wanted(self, actor: Actor, name: str, source: str) -> tuple[Policy, int | None]:
        if self._library.is_shipped(name):
            return self._library.get(name), None
        found = await (self._policies.draft(actor, name) if source == "draft" else self._policies.document(actor, name))
        if found is None:
            raise NothingToPublish(f"The policy {name} has no draft.")
        value, problems = documents.parse(found.text)
        policy = None
        if not problems:
            policy, problems, _ = await self._policies.check(value)
        if policy is None or problems:
            raise PolicyInvalid(problems)
        return policy, found.version

    async def _run(self, replay: Replay) -> None:
        try:
            await self._replay(replay)
            replay.state = "done"
        except asyncio.CancelledError:
            replay.state = "cancelled"
            raise
        except AppError as error:
            replay.state, replay.error = "failed", error.message
        except Exception:
            # Broad: nobody awaits this task, so whatever ended the replay stands in its state.
            logger.exception("The replay %s failed", replay.id)
            replay.state, replay.error = "failed", "It failed; the log has the reason."
        finally:
            replay.finished_at = clock.utcnow()

    async def _replay(self, replay: Replay) -> None:
        since_at = replay.started_at - timedelta(days=replay.asked.days)
        if not replay.proxies:
            return
        replayers = await self._replayers(replay)
        async with self._database.reader() as session:
            wanted = (
                select(CallText.call_id)
                .where(
                    CallText.tenant_id == replay.tenant_id,
                    CallText.proxy_id.in_(list(replay.proxies)),
                    CallText.started_at >= since_at,
                )
                .limit(replay.asked.limit)
            )
            replay.total = await session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
            calls = CapturedTexts(session, self._vault, replay.tenant_id).captured(
                list(replay.proxies), since_at, None, limit=replay.asked.limit
            )
            batch: list[CapturedCall] = []
            async for call in calls:
                batch.append(call)
                if len(batch) >= BATCH_CALLS:
                    # The page is in memory: the transaction ends, so that the log of the database can be cut meanwhile.
                    await session.commit()
                    await self._judge(replay, replayers, batch)
                    batch = []
            await self._judge(replay, replayers, batch)

    async def _judge(self, replay: Replay, replayers: _Replayers, batch: Sequence[CapturedCall]) -> None:
        def judged(call: CapturedCall) -> Rejudged | None:
            named = tuple(replay.of_keys.get(call.principal_id, ()))
            replayer = replayers.get((call.proxy_id, named), replayers.get((call.proxy_id, ())))
            return replayer.judge(call) if replayer is not None else None

        def work() -> list[Rejudged | None]:
            return [judged(call) for call in batch]

        if batch:
            for one in await self._workbench.run(work, deadline_seconds=None):
                replay.count(one)

    async def _replayers(self, replay: Replay) -> _Replayers:
        """Who judges the calls of each proxy, and there those of keys with their own policies, which thousands may share."""
        name = replay.policy.name
        lists = {tuple(names) for names in replay.of_keys.values()}
        is_of_keys = any(name in names for names in replay.of_keys.values()) and not replay.asked.proxy_ids
        replayers: _Replayers = {}
        for proxy in replay.proxies.values():
            if name in replay.named[proxy.id] or not is_of_keys:
                replayers[proxy.id, ()] = await self._replayer(replay, proxy, replay.named[proxy.id], "proxy")
            made: dict[tuple[str, ...], Replayer] = {}
            for names in lists:
                own = tuple(fitting(self._library, names, proxy.type))
                if name in own and own not in made:
                    made[own] = await self._replayer(replay, proxy, own, "key")
                if own:
                    replayers[proxy.id, names] = made.get(own)
        return replayers

    async def _replayer(self, replay: Replay, proxy: Proxy, applied: Sequence[str], level: str) -> Replayer:
        """The policies of a level with the replayed one in the place of its namesake, or beside them."""
        policy = replay.policy
        named = [name for name in applied if not self._library.unknown([name])]
        names = [name for name in named if self._library.applies_to(name, proxy.type)]
        others = [(self._library.get(name), self._library.version_of(name) or 0, level) for name in names]
        chosen = [(policy, 0, level) if other[0].name == policy.name else other for other in others]
        if policy.name not in names:
            chosen.append((policy, 0, level))
        packs = {pack.name: pack for item, _, _ in chosen for pack in self._library.packs_for(item)}
        return Replayer(
            await self._evaluator.judges(chosen),
            list(packs.values()),
            shared=self._library.shared_packs.keys(),
            kind=proxy.type,
            log_only=proxy.enforcement == "log_only",
            context_firewall=self._evaluator.context_firewall,
            level=level,
        )
