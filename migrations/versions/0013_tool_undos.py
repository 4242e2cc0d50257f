"""Decisions about tools that can be taken back for a minute."""

import sqlalchemy as sa
from alembic import op

revision = "0013_tool_undos"
down_revision = "0012_mcp_tools"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mcp_undos",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("user_id", sa.String(40), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("kept", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["proxy_id"], ["proxies.id"], name="fk_mcp_undos_proxy_id_proxies", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_mcp_undos"),
    )
    op.create_index("ix_mcp_undos_tenant_user", "mcp_undos", ["tenant_id", "user_id", "made_at"], unique=False)


def downgrade() -> None:
    op.drop_table("mcp_undos")
