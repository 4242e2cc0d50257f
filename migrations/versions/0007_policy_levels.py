"""Policies of keys and of all proxies, and with each call why its verdict is what it is."""

import sqlalchemy as sa
from alembic import op

revision = "0007_policy_levels"
down_revision = "0006_policies"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "global_policies",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("policy_names", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("updated_by", sa.String(100), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_global_policies"),
        sa.UniqueConstraint("tenant_id", name="uq_global_policies_tenant_id"),
    )
    op.create_index("ix_global_policies_tenant_id", "global_policies", ["tenant_id"])
    op.add_column("api_keys", sa.Column("policy_names", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("calls", sa.Column("decision", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("calls", "decision")
    op.drop_column("api_keys", "policy_names")
    op.drop_table("global_policies")
