"""JSON endpoints of policies and packs: reading, drafts, publishing, versions, checking, import and export."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from app.errors import Unavailable
from app.fleet.rulesets import REMEDY, Rulesets, RulesetUnavailable
from app.http.envelope import Envelope, Listing
from app.policies import documents
from app.policies.errors import PolicyInvalid, VersionNotFound
from app.policies.importing import import_text, import_view
from app.policies.library import PolicyLibrary
from app.policies.schemas import (
    AnalyzePatterns,
    ChangeView,
    CheckPolicy,
    CheckView,
    CompiledView,
    DocumentView,
    ImportPolicy,
    ImportView,
    PackSummary,
    PackView,
    PatternView,
    PolicyDocument,
    PolicyView,
    ProblemView,
    PublishPolicy,
    RollBackPolicy,
    StoredView,
    VersionView,
    WritePolicy,
)
from app.policies.service import PolicyService
from app.security.permissions import Actor
from rules.packs import Problem
from rules.patterns import PatternRefused, key_of
from rules.search_cost import check_pattern

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["policies"]


@get("/api/v1/policies", opt=VIEWER, tags=TAGS)
async def list_policies(
    library: NamedDependency[PolicyLibrary], type: FromQuery[str] = "", search: FromQuery[str] = ""
) -> Envelope[Listing[PolicyView]]:
    """Policies in force, by name; with `type` only those that suit that type of proxy."""
    found = library.policies(type_=type, search=search)
    return Envelope(Listing(found, len(found), len(found), 0))


@post("/api/v1/policies", opt=ADMIN, tags=TAGS)
async def create_policy(
    data: JSONBody[WritePolicy], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[PolicyDocument]:
    """Make a policy as a draft; with `publish` it comes into force at once."""
    if data.publish:
        await _refuse_unsound(policies, data.policy)
    made = await policies.create(actor, data.policy, data.note)
    if data.publish:
        made = await policies.publish(actor, made.name, note=data.note)
    return Envelope(
        policy_document(made), message="The policy is published." if data.publish else "The draft is saved."
    )


@get("/api/v1/policies/drafts", opt=VIEWER, tags=TAGS)
async def list_stored(
    actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[list[StoredView]]:
    """The policies made here with the state of their drafts, those that were never published included."""
    return Envelope(list((await policies.stored(actor)).values()))


@post("/api/v1/policies/validate", opt=ADMIN, status_code=200, tags=TAGS)
async def validate_policy(data: JSONBody[CheckPolicy], policies: NamedDependency[PolicyService]) -> Envelope[CheckView]:
    """Whether a document could be published, with every problem by JSON pointer; nothing is saved."""
    _, problems, remarks = await policies.check(data.policy)
    return Envelope(CheckView(valid=not problems, problems=problem_views(problems), remarks=problem_views(remarks)))


@post("/api/v1/policies/import", opt=ADMIN, status_code=200, tags=TAGS)
async def import_policy(
    data: JSONBody[ImportPolicy], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[ImportView]:
    """Read a policy file in any known dialect and say what could not be carried over; with `save` keep it as a draft,
    with `save_as` under that name."""
    found, problems, _ = await import_text(policies, data.content, data.name, save_as=data.save_as)
    if data.save:
        await policies.create(actor, found.document, f"Imported from {found.dialect}")
    return Envelope(import_view(found, problems, saved=data.save))


@get("/api/v1/policies/{name:str}", opt=VIEWER, tags=TAGS)
async def get_policy(name: FromPath[str], library: NamedDependency[PolicyLibrary]) -> Envelope[PolicyView]:
    """One policy in force, in summary."""
    return Envelope(library.policy(name))


@put("/api/v1/policies/{name:str}", opt=ADMIN, tags=TAGS)
async def save_policy(
    name: FromPath[str],
    data: JSONBody[WritePolicy],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Envelope[PolicyDocument]:
    """Save the draft of a policy; with `publish` it comes into force at once. 409 for an outdated `revision`."""
    if data.publish:
        await _refuse_unsound(policies, data.policy)
    saved = await policies.save_draft(actor, name, data.policy, revision=data.revision, note=data.note)
    if data.publish:
        saved = await policies.publish(actor, name, revision=saved.revision, note=data.note)
    return Envelope(
        policy_document(saved), message="The policy is published." if data.publish else "The draft is saved."
    )


@delete("/api/v1/policies/{name:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def delete_policy(
    name: FromPath[str], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[None]:
    """Delete a policy made here with all its versions; refused while a proxy or key uses it.

    Ten seconds long it can be restored.
    """
    await policies.delete(actor, name)
    return Envelope(None, message="The policy is deleted.")


@post("/api/v1/policies/{name:str}/restore", opt=ADMIN, status_code=200, tags=TAGS)
async def restore_policy(
    name: FromPath[str], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[None]:
    """Take back that the policy was deleted, all versions included, or its draft discarded, within ten seconds."""
    restored = await policies.restore(actor, name)
    return Envelope(None, message=f"The {restored} is restored.")


@get("/api/v1/policies/{name:str}/document", opt=VIEWER, tags=TAGS)
async def get_document(
    name: FromPath[str], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[PolicyDocument]:
    """The document in force or, before there is one, the draft."""
    return Envelope(policy_document(await policies.document(actor, name)))


@get("/api/v1/policies/{name:str}/draft", opt=VIEWER, tags=TAGS)
async def get_draft(
    name: FromPath[str], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[PolicyDocument | None]:
    """The draft, or null."""
    draft = await policies.draft(actor, name)
    return Envelope(None if draft is None else policy_document(draft))


@delete("/api/v1/policies/{name:str}/draft", opt=ADMIN, status_code=200, tags=TAGS)
async def discard_draft(
    name: FromPath[str], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[None]:
    """Throw the draft away; a policy that was never published goes with it."""
    await policies.discard(actor, name)
    return Envelope(None, message="The draft is discarded.")


@get("/api/v1/policies/{name:str}/versions", opt=VIEWER, tags=TAGS)
async def list_versions(
    name: FromPath[str], actor: NamedDependency[Actor], policies: NamedDependency[PolicyService]
) -> Envelope[list[VersionView]]:
    """The versions of a policy, newest first; a shipped policy has none."""
    return Envelope(await policies.versions(actor, name))


@get("/api/v1/policies/{name:str}/versions/{number:str}", opt=VIEWER, tags=TAGS)
async def get_version(
    name: FromPath[str],
    number: FromPath[str],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Envelope[PolicyDocument]:
    """One version with its document."""
    return Envelope(policy_document(await policies.document(actor, name, version_number(number))))


@get("/api/v1/policies/{name:str}/diff", opt=VIEWER, tags=TAGS)
async def diff_versions(
    name: FromPath[str],
    before: FromQuery[int],
    after: FromQuery[int],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Envelope[list[ChangeView]]:
    """What changed from version `before` to version `after`, field by field."""
    return Envelope(
        [
            ChangeView(
                kind=change.kind,
                pointer=change.pointer,
                label=change.label,
                before=change.before,
                after=change.after,
            )
            for change in await policies.diff(actor, name, before, after)
        ]
    )


@post("/api/v1/policies/{name:str}/publish", opt=ADMIN, status_code=200, tags=TAGS)
async def publish_policy(
    name: FromPath[str],
    data: JSONBody[PublishPolicy],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Envelope[PolicyDocument]:
    """Put the draft in force; every proxy that uses the policy serves it at once."""
    published = await policies.publish(actor, name, revision=data.revision, note=data.note)
    return Envelope(policy_document(published), message=f"Version {published.version} is in force.")


@post("/api/v1/policies/{name:str}/rollback", opt=ADMIN, status_code=200, tags=TAGS)
async def roll_back_policy(
    name: FromPath[str],
    data: JSONBody[RollBackPolicy],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Envelope[PolicyDocument]:
    """Put an earlier version in force again, as a new version."""
    made = await policies.roll_back(actor, name, data.version, note=data.note)
    return Envelope(policy_document(made), message=f"Version {made.version} is in force.")


@get("/api/v1/policies/{name:str}/export", opt=VIEWER, tags=TAGS)
async def export_policy(
    name: FromPath[str],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
    version: FromQuery[int | None] = None,
) -> Response[str]:
    """The document as a file in canonical form; importing it again gives the same bytes."""
    found = await policies.document(actor, name, version)
    headers = {"Content-Disposition": f'attachment; filename="{found.name}.json"'}
    return Response(found.text, media_type="application/json", headers=headers)


@get("/api/v1/policies/compiled/status", opt=VIEWER, tags=TAGS)
async def compiled_status(
    library: NamedDependency[PolicyLibrary], rulesets: NamedDependency[Rulesets]
) -> Envelope[list[CompiledView]]:
    """How many patterns each policy in force declares, and how many are compiled (null: not yet)."""
    found = []
    for view in library.policies():
        counts = rulesets.pattern_counts(library.packs_for(library.get(view.name))) if view.active else (0, None)
        problem = "" if view.active else library.why_inactive(view.name)
        found.append(
            CompiledView(name=view.name, active=view.active, declared=counts[0], compiled=counts[1], problem=problem)
        )
    return Envelope(found)


@post("/api/v1/policies/compiled/{name:str}/recompile", opt=ADMIN, status_code=200, tags=TAGS)
async def recompile(
    name: FromPath[str], library: NamedDependency[PolicyLibrary], rulesets: NamedDependency[Rulesets]
) -> Envelope[CompiledView]:
    """Compile the rules of a policy now, if that has not been done; answers when they are ready."""
    packs = library.packs_for(library.get(name))
    try:
        await rulesets.of_packs(packs)
    except RulesetUnavailable as error:
        raise Unavailable(str(error), remediation=REMEDY) from error
    declared, compiled = rulesets.pattern_counts(packs)
    return Envelope(CompiledView(name=name, active=True, declared=declared, compiled=compiled))


@post("/api/v1/policies/patterns/analyze", opt=ADMIN, status_code=200, tags=TAGS)
async def analyze_patterns(
    data: JSONBody[AnalyzePatterns], policies: NamedDependency[PolicyService]
) -> Envelope[list[PatternView]]:
    """Whether each pattern compiles in every engine and stays linear, or the reason why not."""

    def work() -> list[PatternView]:
        return [pattern_view(pattern) for pattern in data.patterns]

    return Envelope(await policies.workbench.run(work))


@get("/api/v1/packs", opt=VIEWER, tags=TAGS)
async def list_packs(library: NamedDependency[PolicyLibrary]) -> Envelope[Listing[PackSummary]]:
    """Rule packs by name, without their rules."""
    found = library.packs()
    return Envelope(Listing(found, len(found), len(found), 0))


@get("/api/v1/packs/{name:str}", opt=VIEWER, tags=TAGS)
async def get_pack(name: FromPath[str], library: NamedDependency[PolicyLibrary]) -> Envelope[PackView]:
    """One rule pack with its rules."""
    return Envelope(library.pack(name))


def version_number(text: str) -> int:
    """The number in an address; raises VersionNotFound for what is none."""
    if not text.isdecimal() or len(text) > 9:
        raise VersionNotFound(f"{text[:20]} is not the number of a version.")
    return int(text)


def policy_document(found: DocumentView) -> PolicyDocument:
    """A version as the API returns it."""
    value, _ = documents.parse(found.text)
    return PolicyDocument(
        name=found.name,
        shipped=found.shipped,
        version=found.version,
        status=found.status,
        revision=found.revision,
        policy=value,
    )


def problem_views(problems: Sequence[Problem]) -> list[ProblemView]:
    """Problems without the name of the file, which is the request's body."""
    return [ProblemView(pointer=problem.pointer, reason=problem.reason) for problem in problems]


def pattern_view(pattern: str) -> PatternView:
    """One pattern, checked by every engine."""
    try:
        groups = check_pattern(key_of(pattern, ""))
    except PatternRefused as error:
        return PatternView(pattern=pattern, valid=False, reason=str(error), groups=0)
    return PatternView(pattern=pattern, valid=True, reason="", groups=groups)


async def _refuse_unsound(policies: PolicyService, value: dict[str, Any]) -> None:
    """Before anything is saved: what is to be published at once must be sound."""
    _, problems, _ = await policies.check(value)
    if problems:
        raise PolicyInvalid(problems)


routes = [
    list_policies,
    create_policy,
    list_stored,
    validate_policy,
    import_policy,
    get_policy,
    save_policy,
    delete_policy,
    restore_policy,
    get_document,
    get_draft,
    discard_draft,
    list_versions,
    get_version,
    diff_versions,
    publish_policy,
    roll_back_policy,
    export_policy,
    compiled_status,
    recompile,
    analyze_patterns,
    list_packs,
    get_pack,
]
