"""What durations of tools are typically: their logarithms, which hours of before lack."""

import sqlalchemy as sa
from alembic import op

revision = "0019_tool_durations"
down_revision = "0018_discarded_drafts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mcp_tool_hours", sa.Column("log_ms", sa.Float(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("mcp_tool_hours") as table:
        table.drop_column("log_ms")
