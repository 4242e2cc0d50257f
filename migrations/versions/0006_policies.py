"""Policies made here with their versions, and what people call false positives."""

import sqlalchemy as sa
from alembic import op

revision = "0006_policies"
down_revision = "0005_canaries"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("type", sa.String(10), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_policies_tenant_id_name"),
    )
    op.create_index("ix_policies_tenant_id", "policies", ["tenant_id"])
    op.create_table(
        "policy_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("policy_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=True),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policy_versions"),
        sa.UniqueConstraint("policy_id", "number", name="uq_policy_versions_policy_id_number"),
    )
    op.create_index("ix_policy_versions_tenant_id", "policy_versions", ["tenant_id"])
    op.create_table(
        "rule_feedback",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("rule_id", sa.String(64), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("policy_name", sa.String(100), nullable=False),
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("evidence_hash", sa.String(64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("marked_by", sa.String(100), nullable=False),
        sa.Column("marked_at", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rule_feedback"),
        sa.UniqueConstraint(
            "tenant_id",
            "rule_id",
            "call_id",
            "evidence_hash",
            name="uq_rule_feedback_tenant_id_rule_id_call_id_evidence_hash",
        ),
    )
    op.create_index("ix_rule_feedback_tenant_id", "rule_feedback", ["tenant_id"])
    op.create_index("ix_rule_feedback_tenant_rule", "rule_feedback", ["tenant_id", "rule_id", "marked_at"])


def downgrade() -> None:
    for table in ("rule_feedback", "policy_versions", "policies"):
        op.drop_table(table)
