"""The hosts to which the tools behind a proxy may be sent."""

import sqlalchemy as sa
from alembic import op

revision = "0022_egress_hosts"
down_revision = "0021_quarantine_from"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proxies", sa.Column("egress_hosts", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.drop_column("egress_hosts")
