"""Scans of MCP servers."""

import sqlalchemy as sa
from alembic import op

revision = "0011_scans"
down_revision = "0010_launch_programs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scans",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("target_key", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("policy_name", sa.String(100), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("overall_risk", sa.String(10), nullable=False),
        sa.Column("risk_score", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("tool_severities", sa.JSON(), nullable=False),
        sa.Column("tool_names", sa.JSON(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("started_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scans"),
    )
    op.create_index("ix_scans_tenant_started", "scans", ["tenant_id", "started_at"])
    op.create_index("ix_scans_tenant_target_started", "scans", ["tenant_id", "target_key", "started_at"])
    op.create_table(
        "scan_gates",
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("lifted", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.Column("changed_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("proxy_id", name="pk_scan_gates"),
    )


def downgrade() -> None:
    op.drop_table("scan_gates")
    op.drop_table("scans")
