"""Marks of false positives name the alert that made them: reopening it takes back no mark that somebody set by hand."""

import sqlalchemy as sa
from alembic import op

revision = "0030_marks_of_alerts"
down_revision = "0029_rule_hours_pack"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rule_feedback", sa.Column("alert_id", sa.String(40), nullable=False, server_default=""))
    # Which of the two made an older mark is not known; it goes on following its alert as it did.
    op.execute(
        "UPDATE rule_feedback SET alert_id = COALESCE((SELECT MAX(alerts.id) FROM alerts"
        " WHERE alerts.tenant_id = rule_feedback.tenant_id AND alerts.rule_id = rule_feedback.rule_id"
        " AND alerts.call_id = rule_feedback.call_id AND alerts.status = 'false_positive'), '')"
    )


def downgrade() -> None:
    op.drop_column("rule_feedback", "alert_id")
