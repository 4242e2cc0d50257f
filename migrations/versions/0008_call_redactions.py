"""What was masked in each call."""

import sqlalchemy as sa
from alembic import op

revision = "0008_call_redactions"
down_revision = "0007_policy_levels"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "call_redactions",
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("type", sa.String(24), nullable=False),
        sa.Column("direction", sa.String(10), nullable=False),
        sa.Column("rule_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("proxy_name", sa.String(100), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("restored", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", "type", "direction", "rule_id", name="pk_call_redactions"),
    )
    op.create_index("ix_call_redactions_tenant_started", "call_redactions", ["tenant_id", "started_at"])


def downgrade() -> None:
    op.drop_table("call_redactions")
