"""The programs that proxies may start."""

import sqlalchemy as sa
from alembic import op

revision = "0010_launch_programs"
down_revision = "0009_mcp_proxies"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "launch_programs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("first_arguments", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_launch_programs"),
    )
    op.create_index("ix_launch_programs_tenant_id", "launch_programs", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("launch_programs")
