"""Masked values name the client of their call, so that reports need no look at the calls."""

import sqlalchemy as sa
from alembic import op

revision = "0016_redaction_clients"
down_revision = "0015_launch_limits"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("call_redactions", sa.Column("client", sa.String(100), nullable=False, server_default=""))
    op.execute(
        "UPDATE call_redactions SET client = COALESCE((SELECT CASE WHEN calls.principal_name <> '' "
        "THEN calls.principal_name ELSE calls.client_ip END FROM calls WHERE calls.id = call_redactions.call_id), '')"
    )


def downgrade() -> None:
    op.drop_column("call_redactions", "client")
