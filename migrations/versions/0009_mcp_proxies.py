"""How an MCP server is started, which era it may be spoken to in, and which of its tools need a person."""

import sqlalchemy as sa
from alembic import op

revision = "0009_mcp_proxies"
down_revision = "0008_call_redactions"
branch_labels = None
depends_on = None


def columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("launch_command", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("launch_environment", sa.Text(), nullable=True),
        sa.Column("launch_directory", sa.Text(), nullable=False, server_default=""),
        sa.Column("era", sa.String(10), nullable=False, server_default="same"),
        sa.Column("auto_approve", sa.String(10), nullable=False, server_default="none"),
        sa.Column("discovery_interval_hours", sa.Integer(), nullable=False, server_default="6"),
    )


def upgrade() -> None:
    for column in columns():
        op.add_column("proxies", column)


def downgrade() -> None:
    for column in reversed(columns()):
        op.drop_column("proxies", column.name)
