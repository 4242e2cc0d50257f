"""How a call that a policy denies is answered."""

import sqlalchemy as sa
from alembic import op

revision = "0023_denied_calls"
down_revision = "0022_egress_hosts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proxies", sa.Column("denied_calls", sa.String(10), nullable=False, server_default="error"))


def downgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        table.drop_column("denied_calls")
