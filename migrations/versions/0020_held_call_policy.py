"""Which version of its policy holds a call."""

import sqlalchemy as sa
from alembic import op

revision = "0020_held_call_policy"
down_revision = "0019_tool_durations"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mcp_held_calls", sa.Column("policy_version", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("mcp_held_calls") as table:
        table.drop_column("policy_version")
