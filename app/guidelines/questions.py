"""What is asked of the guidelines about a refused or reported message: its own words and those of the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.alerts.schemas import AlertView
from app.policies.trial_schemas import EvaluationView

MAX_TITLES = 20


def of_alert(alert: AlertView) -> str:
    """What an alert speaks of."""
    return _joined([(alert.title, alert.category)], [alert.description, alert.evidence])


def of_evaluation(outcome: EvaluationView) -> str:
    """What a message that was tried speaks of."""
    seen = dict.fromkeys((finding.title, finding.category) for finding in outcome.findings)
    return _joined(list(seen)[:MAX_TITLES], [text.text for text in outcome.texts])


def _joined(rules: Sequence[tuple[str, str]], texts: Iterable[str]) -> str:
    """Categories are paths of words, as `pii/payment-card`."""
    words = [f"{title} {category.replace('/', ' ').replace('-', ' ')}" for title, category in rules]
    return "\n".join([*words, *texts])
