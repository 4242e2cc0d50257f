"""From which severity on a change takes a tool out."""

import sqlalchemy as sa
from alembic import op

revision = "0021_quarantine_from"
down_revision = "0020_held_call_policy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proxies", sa.Column("quarantine_from", sa.String(10), nullable=False, server_default="high"))


def downgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.drop_column("quarantine_from")
