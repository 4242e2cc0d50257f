"""What a server that a proxy starts may use of the machine, and whether one may fall back to an older era."""

import sqlalchemy as sa
from alembic import op

revision = "0015_launch_limits"
down_revision = "0014_tool_undos"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("max_memory_mb", "max_cpu_seconds"):
        op.add_column("launch_programs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))

    op.add_column("proxies", sa.Column("refuse_downgrade", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.drop_column("refuse_downgrade")
    with op.batch_alter_table("launch_programs") as table:
        table.drop_column("max_cpu_seconds")
        table.drop_column("max_memory_mb")
