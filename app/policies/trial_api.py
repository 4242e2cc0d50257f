"""JSON endpoints for trying policies: evaluate, test, replay, and what people call false positives."""

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.guidelines.questions import of_evaluation
from app.guidelines.service import GuidelineService
from app.http.envelope import Envelope
from app.policies.evaluation import Evaluator
from app.policies.feedback import Feedback, MarkFalsePositive, MarkView
from app.policies.replays import Replays
from app.policies.trial_schemas import Evaluate, EvaluationView, ReplayView, ScanText, StartReplay, TestPolicy
from app.security.permissions import Actor
from rules.assessment import SecurityAssessment

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["policies"]


@post(["/api/v1/evaluate", "/admin/evaluate"], opt=ADMIN, status_code=200, tags=TAGS)
async def evaluate(
    data: JSONBody[Evaluate],
    actor: NamedDependency[Actor],
    evaluator: NamedDependency[Evaluator],
    guidelines: NamedDependency[GuidelineService],
) -> Envelope[EvaluationView]:
    """Judge a text or a whole LLM or MCP message: no call is made, nothing is stored, no budget is used."""
    outcome = await evaluator.evaluate(data)
    cited = await guidelines.cited(actor, of_evaluation(outcome))
    return Envelope(msgspec.structs.replace(outcome, guidelines=cited))


@post("/scan", opt={**ADMIN, "tells_unknown_credentials": True}, status_code=200, tags=TAGS)
async def scan(data: JSONBody[ScanText], evaluator: NamedDependency[Evaluator]) -> SecurityAssessment:
    """Assess a text by the standard policy: the bare answer, for scripts and agents that ask before they act."""
    return (await evaluator.evaluate(Evaluate(text=data.text))).assessment


@post("/api/v1/policies/test", opt=ADMIN, status_code=200, tags=TAGS)
async def test_policy(
    data: JSONBody[TestPolicy], evaluator: NamedDependency[Evaluator]
) -> Envelope[list[EvaluationView]]:
    """Judge each of `test_content` by a policy document that need not be saved."""
    return Envelope(
        [
            await evaluator.evaluate(
                Evaluate(text=text, document=data.policy, target=data.target, direction=data.direction)
            )
            for text in data.test_content
        ]
    )


@post("/api/v1/policies/{name:str}/replay", opt=ADMIN, status_code=202, tags=TAGS)
async def start_replay(
    name: FromPath[str], data: JSONBody[StartReplay], actor: NamedDependency[Actor], replays: NamedDependency[Replays]
) -> Envelope[ReplayView]:
    """Judge recorded calls by a draft (or the version in force) in the background; GET …/replays/{id} says how far it is."""
    return Envelope(await replays.start(actor, name, data), message="The replay runs.")


@get("/api/v1/policies/{name:str}/replays", opt=VIEWER, tags=TAGS)
async def list_replays(
    name: FromPath[str], actor: NamedDependency[Actor], replays: NamedDependency[Replays]
) -> Envelope[list[ReplayView]]:
    """The replays of a policy since the console started, newest first; the newest 20 of all policies are kept."""
    return Envelope(replays.of_policy(actor, name))


@get("/api/v1/policies/{name:str}/replays/{replay_id:str}", opt=VIEWER, tags=TAGS)
async def get_replay(
    name: FromPath[str], replay_id: FromPath[str], actor: NamedDependency[Actor], replays: NamedDependency[Replays]
) -> Envelope[ReplayView]:
    """How far a replay is, and the calls whose verdict would change."""
    return Envelope(replays.get(actor, replay_id))


@delete("/api/v1/policies/{name:str}/replays/{replay_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def cancel_replay(
    name: FromPath[str], replay_id: FromPath[str], actor: NamedDependency[Actor], replays: NamedDependency[Replays]
) -> Envelope[ReplayView]:
    """Stop a replay; what it has found stays."""
    return Envelope(replays.cancel(actor, replay_id), message="The replay is cancelled.")


@post("/api/v1/feedback/false-positives", opt=ADMIN, status_code=201, tags=TAGS)
async def mark_false_positive(
    data: JSONBody[MarkFalsePositive], actor: NamedDependency[Actor], feedback: NamedDependency[Feedback]
) -> Envelope[MarkView]:
    """Call a hit a false positive; the evidence is kept as a hash."""
    return Envelope(await feedback.mark(actor, data), message="The hit is marked.")


@delete("/api/v1/feedback/false-positives/{mark_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def withdraw_false_positive(
    mark_id: FromPath[str], actor: NamedDependency[Actor], feedback: NamedDependency[Feedback]
) -> Envelope[None]:
    """Take a mark back."""
    await feedback.withdraw(actor, mark_id)
    return Envelope(None, message="The mark is taken back.")


@get("/api/v1/rules/{rule_id:str}/false-positives", opt=VIEWER, tags=TAGS)
async def list_false_positives(
    rule_id: FromPath[str], actor: NamedDependency[Actor], feedback: NamedDependency[Feedback]
) -> Envelope[list[MarkView]]:
    """The newest hits of a rule that people call false positives."""
    return Envelope(await feedback.of_rule(actor, rule_id))


routes = [
    evaluate,
    scan,
    test_policy,
    start_replay,
    list_replays,
    get_replay,
    cancel_replay,
    mark_false_positive,
    list_false_positives,
    withdraw_false_positive,
]
