"""Who shares a process of a server that a proxy starts."""

import sqlalchemy as sa
from alembic import op

revision = "0017_launch_process"
down_revision = "0016_redaction_clients"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proxies", sa.Column("launch_process", sa.String(10), nullable=False, server_default="session"))


def downgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.drop_column("launch_process")
