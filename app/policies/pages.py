"""Pages of policies, rule packs and rules: the library, one policy in its tabs, one pack, one rule."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access.repository import ApiKeyRepository
from app.errors import NotFound
from app.fleet.rulesets import Rulesets
from app.fleet.schemas import ProxyView
from app.fleet.service import ProxyService
from app.http.envelope import MAX_LIMIT
from app.http.filters import search_text
from app.http.page import Pages, with_query
from app.http.sorting import Sorts
from app.policies import builder, documents, in_policies, rule_list
from app.policies.builder_pages import builder_context
from app.policies.evaluation import Evaluator
from app.policies.feedback import Feedback
from app.policies.global_policies import GlobalPolicyService
from app.policies.hits import DAY_HOURS, WEEK_HOURS, HitRepository, RuleHits
from app.policies.in_force import names_in_force
from app.policies.item_words import words_of
from app.policies.library import PolicyLibrary, rule_view
from app.policies.replays import Replays
from app.policies.schemas import PolicyView, StoredView
from app.policies.service import PolicyService
from app.policies.tag_policies import TagPolicyService
from app.policies.trial_pages import playground_context
from app.policies.views import TABS, page_of_rows, unpublished
from app.security.permissions import Actor
from rules.model import Severity
from rules.policy import DEFAULT_ACTION_ID, OWN_PACK_PREFIX

VIEWER = {"role": "viewer"}
HOME = (("/policies", "Policies"),)
DEFAULT_COMPARED = 2


class PolicyRow(msgspec.Struct, frozen=True):
    """A policy in the library: what is in force, and the state of the draft."""

    name: str
    title: str
    description: str
    type: str
    enforcement: str
    severity: str
    packs: list[str]
    rule_count: int
    condition_count: int
    shipped: bool
    version: int | None
    draft: StoredView | None
    users: int
    hits: int


POLICY_SORTS = Sorts(
    {
        "title": lambda row: row.title.casefold(),
        "type": lambda row: row.type,
        "enforcement": lambda row: (row.shipped or row.version is not None, row.enforcement),
        "version": lambda row: row.version,
        "severity": lambda row: Severity.parse(row.severity),
        "rules": lambda row: row.rule_count + row.condition_count,
        "users": lambda row: row.users,
        "hits": lambda row: row.hits,
    },
    default="title",
    descending_first=frozenset({"version", "severity", "rules", "users", "hits"}),
)
PACK_SORTS = Sorts(
    {
        "title": lambda pack_hits: (pack_hits[0].title or pack_hits[0].name).casefold(),
        "used_by": lambda pack_hits: len(pack_hits[0].policies),
        "rules": lambda pack_hits: pack_hits[0].rule_count,
        "hits": lambda pack_hits: pack_hits[1],
    },
    default="title",
    descending_first=frozenset({"used_by", "rules", "hits"}),
)


@get("/policies", opt=VIEWER, include_in_schema=False)
async def policies_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
    proxies: NamedDependency[ProxyService],
    global_policies: NamedDependency[GlobalPolicyService],
    tag_policies: NamedDependency[TagPolicyService],
    reader: NamedDependency[AsyncSession],
    search: FromQuery[str] = "",
    type: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    pack_sort: FromQuery[str] = "",
    tag: FromQuery[str] = "",
    change: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """All policies and packs; with `tag` the form of the policies of that tag, with `change=everywhere` that of all."""
    assigned = await proxies.page(actor, limit=MAX_LIMIT)
    users: dict[str, list[str]] = {}
    for proxy_id, names in (await names_in_force(reader, actor.tenant_id, library, assigned.items)).items():
        for name in names:
            users.setdefault(name, []).append(proxy_id)
    hits = await HitRepository(reader, actor.tenant_id).by_proxy_and_pack(clock.utcnow(), DAY_HOURS)
    rows = _rows(library, await policies.stored(actor), users, hits)
    filters = {"search": search_text(search), "type": type[:20]}
    text = filters["search"].lower()
    order, pack_order = POLICY_SORTS.order(sort), PACK_SORTS.order(pack_sort)
    found = [
        row
        for row in POLICY_SORTS.arranged(rows, order.sort)
        if text in f"{row.name} {row.title} {row.description}".lower() and (not type or row.type in ("both", type))
    ]
    by_pack = Counter(dict.fromkeys(library.shared_packs, 0))
    for (_, pack), count in hits.items():
        by_pack[pack] += count
    return await pages.page(
        request,
        "policies/list.html",
        title="Policies",
        active="policies",
        own=page_of_rows([row for row in found if not row.shipped], offset),
        shipped=[row for row in found if row.shipped],
        every=rows,
        packs=[
            pack for pack, _ in PACK_SORTS.arranged([(p, by_pack[p.name]) for p in library.packs()], pack_order.sort)
        ],
        pack_hits=by_pack,
        filters=filters | {"tag": tag[:40], "change": change[:20]},
        order=order,
        pack_order=pack_order,
        base=with_query("/policies", **filters, sort=order.param, pack_sort=pack_order.param),
        everywhere=await global_policies.view(actor),
        by_tag=await tag_policies.views(actor),
        damage=library.damage,
    )


def _rows(
    library: PolicyLibrary,
    stored: dict[str, StoredView],
    users: dict[str, list[str]],
    hits: dict[tuple[str, str], int],
) -> list[PolicyRow]:
    views = {view.name: view for view in library.policies()}
    rows = []
    for name in sorted({*views, *stored}):
        draft = stored.get(name)
        view = views.get(name) or unpublished(name, stored[name].type)
        rows.append(
            PolicyRow(
                name=name,
                title=view.title or (draft.draft_title if draft and not view.version else "") or name,
                description=view.description or (draft.draft_description if draft and not view.version else ""),
                type=view.type,
                enforcement=view.enforcement,
                severity=view.severity,
                packs=view.packs,
                rule_count=view.rule_count,
                condition_count=view.condition_count,
                shipped=view.shipped,
                version=view.version,
                draft=draft,
                users=len(users.get(name, [])),
                hits=sum(
                    hits.get((proxy_id, pack), 0)
                    for proxy_id in users.get(name, [])
                    for pack in (*view.packs, OWN_PACK_PREFIX + name)
                ),
            )
        )
    return rows


@get("/policies/{name:str}", opt=VIEWER, include_in_schema=False)
async def policy_page(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
    proxies: NamedDependency[ProxyService],
    replays: NamedDependency[Replays],
    feedback: NamedDependency[Feedback],
    rulesets: NamedDependency[Rulesets],
    evaluator: NamedDependency[Evaluator],
    reader: NamedDependency[AsyncSession],
    tab: FromQuery[str] = "overview",
    before: FromQuery[int] = 0,
    after: FromQuery[int] = 0,
    replay: FromQuery[str] = "",
    open: FromQuery[str] = "",
    rules_offset: FromQuery[int] = 0,
    detections_offset: FromQuery[int] = 0,
    versions_offset: FromQuery[int] = 0,
    changes_offset: FromQuery[int] = 0,
) -> Response[str]:
    """One policy in its tabs; `open` names the items that the builder shows open."""
    stored = (await policies.stored(actor)).get(name)
    tab = tab if tab in dict(TABS) else "overview"
    if tab == "overview" and stored is not None and library.unknown([name]):
        tab = "builder"
    view = unpublished(name, stored.type) if stored and library.unknown([name]) else library.policy(name)
    problem = library.why_inactive(name) if stored is None or stored.version is not None else ""
    context: dict[str, Any] = {"policy": view, "stored": stored, "tab": tab, "tabs": TABS, "problem": problem}
    match tab:
        case "overview":
            assigned = await proxies.page(actor, limit=MAX_LIMIT)
            named = await names_in_force(reader, actor.tenant_id, library, assigned.items)
            users = [proxy for proxy in assigned.items if name in named[proxy.id]]
            hits = HitRepository(reader, actor.tenant_id)
            context |= await _overview(actor, library, view, users, hits, feedback, rulesets)
            context["conditions"] = page_of_rows(context["conditions"], rules_offset)
            context["detections"] = page_of_rows(context["detections"], detections_offset)
            context["keys"] = await ApiKeyRepository(reader, actor.tenant_id).names_under(name, clock.utcnow())
        case "builder":
            context |= await builder_context(actor, library, policies, name, open)
        case "test":
            draft = None if view.shipped else await policies.draft(actor, name)
            context |= playground_context(
                library, evaluator, subject=("draft:" if draft else "") + name, drafts=[name] if draft else []
            )
        case "replay":
            context |= _replay(actor, replays, name, replay, changes_offset)
            context["proxies"] = (await proxies.page(actor, limit=MAX_LIMIT)).items
        case "versions":
            context |= await _versions(actor, policies, name, before, after, versions_offset)
    return await pages.page(
        request,
        "policies/policy.html",
        title=view.title or view.name,
        active="policies",
        crumbs=HOME,
        **context,
    )


async def _overview(
    actor: Actor,
    library: PolicyLibrary,
    view: PolicyView,
    users: list[ProxyView],
    hits: HitRepository,
    feedback: Feedback,
    rulesets: Rulesets,
) -> dict[str, Any]:
    policy = library.get(view.name)
    names = {*policy.packs, policy.own_pack_name}
    marked = await feedback.counts(actor, names)
    week = await hits.by_rule(clock.utcnow(), WEEK_HOURS, names)
    day = await hits.by_rule(clock.utcnow(), DAY_HOURS, names)
    packs = library.packs_for(policy) if view.active else []
    titles = {rule.id: (pack.name, rule) for pack in packs if pack.name in names for rule in pack.rules}
    busiest = sorted((rule_id for rule_id in week if rule_id in titles), key=lambda rule_id: -week[rule_id].hits)[:12]
    document = builder.shown(documents.as_value(policy))
    return {
        "packs": [pack for pack in library.packs() if pack.name in policy.packs],
        "proxies": users,
        "busiest": [
            {
                "rule_id": rule_id,
                "pack": titles[rule_id][0],
                "title": titles[rule_id][1].title,
                "severity": titles[rule_id][1].severity,
                **_counted(rule_id, day, week, marked),
            }
            for rule_id in busiest
        ],
        "document": document,
        "counts": rulesets.pattern_counts(library.packs_for(policy)) if view.active else None,
        "conditions": [
            *(
                {"rule": rule, "words": words_of("rules", values), **_counted(rule.id, day, week, marked)}
                for rule, values in zip(policy.rules, document["rules"], strict=True)
            ),
            *(
                [{"rule": None, "words": [], **_counted(DEFAULT_ACTION_ID, day, week, marked)}]
                * (policy.default_action == "deny")
            ),
        ],
        "overrides": [
            {"on": values["rules"] or values["categories"] or values["packs"], "words": words_of("overrides", values)}
            for values in document["overrides"]
        ],
        "detections": [
            {"rule": rule, "index": index, "words": words_of("detections", values)}
            for index, (rule, values) in enumerate(zip(policy.detections, document["detections"], strict=True))
        ],
        "rate_limits": policy.rate_limits,
    }


def _counted(
    rule_id: str, day: Mapping[str, RuleHits], week: Mapping[str, RuleHits], marked: Mapping[str, int]
) -> dict[str, int]:
    """How often a rule of a policy hit and blocked, and how often people called that wrong."""
    lately = week.get(rule_id, RuleHits())
    return {
        "day": day.get(rule_id, RuleHits()).hits,
        "week": lately.hits,
        "blocked": lately.blocked,
        "marked": marked.get(rule_id, 0),
    }


def _replay(actor: Actor, replays: Replays, name: str, replay_id: str, offset: int) -> dict[str, Any]:
    found = replays.of_policy(actor, name)
    chosen = next((item for item in found if item.id == replay_id), found[0] if found else None)
    return {"replays": found, "replay": chosen, "changes": page_of_rows(chosen.changes if chosen else [], offset)}


async def _versions(
    actor: Actor, policies: PolicyService, name: str, before: int, after: int, offset: int
) -> dict[str, Any]:
    versions = await policies.versions(actor, name)
    numbers = [version.number for version in versions]
    if len(numbers) >= DEFAULT_COMPARED and not (before in numbers and after in numbers):
        before, after = numbers[1], numbers[0]
    changes = await policies.diff(actor, name, before, after) if before in numbers and after in numbers else None
    page = page_of_rows(versions, offset)
    elsewhere = [one for one in versions if one.number in (before, after) and one not in page.items]
    return {"versions": page, "compared": elsewhere, "before": before, "after": after, "changes": changes}


@get("/packs/{name:str}", opt=VIEWER, include_in_schema=False)
async def pack_page(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    reader: NamedDependency[AsyncSession],
    search: FromQuery[str] = "",
    severity: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """One pack with its rules."""
    pack = library.pack(name)
    hits = await HitRepository(reader, actor.tenant_id).by_rule(clock.utcnow(), DAY_HOURS, [name])
    listed, order = rule_list.page(pack.rules, hits, search=search, severity=severity, sort=sort, offset=offset)
    filters = {"search": search[:200], "severity": severity}
    return await pages.page(
        request,
        "policies/pack.html",
        title=pack.title or pack.name,
        active="policies",
        crumbs=HOME,
        pack=pack,
        list=listed,
        order=order,
        base=with_query(f"/packs/{name}", **filters, sort=order.param),
        hits=hits,
        filters=filters,
    )


@get("/packs/{name:str}/{rule_id:str}", opt=VIEWER, include_in_schema=False)
async def rule_page(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    rule_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    feedback: NamedDependency[Feedback],
    reader: NamedDependency[AsyncSession],
) -> Response[str]:
    """One rule: what it looks for, its examples, how often it hit, and what people say about that."""
    pack = library.pack(name)
    rule = library.rule(name, rule_id)
    if rule is None:
        raise NotFound(f"The pack {name} has no such rule.")
    shown = rule_view(rule)
    hits = HitRepository(reader, actor.tenant_id)
    now = clock.utcnow()
    nothing = RuleHits()
    return await pages.page(
        request,
        "policies/rule.html",
        title=rule.id,
        active="policies",
        crumbs=(*HOME, (f"/packs/{name}", pack.title or pack.name)),
        pack=pack,
        rule=shown,
        condition=shown.condition,
        placeholder=rule.label if rule.is_sensitive or rule.action == "redact" else "",
        comes_back=rule.capture.reversible,
        standings=in_policies.standings(rule, name, library.with_pack(name)),
        day=(await hits.by_rule(now, DAY_HOURS, [name])).get(rule_id, nothing),
        week=(await hits.by_rule(now, WEEK_HOURS, [name])).get(rule_id, nothing),
        series=await hits.series(rule_id, now),
        marks=await feedback.of_rule(actor, rule_id),
        marked=(await feedback.counts(actor, [name])).get(rule_id, 0),
    )


routes = [policies_page, policy_page, pack_page, rule_page]
