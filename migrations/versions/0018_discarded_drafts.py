"""Discarded drafts stay for a moment, so that discarding can be taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0018_discarded_drafts"
down_revision = "0017_launch_process"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy_versions", sa.Column("deleted_at", sa.DateTime()))


def downgrade() -> None:
    op.execute("DELETE FROM policy_versions WHERE deleted_at IS NOT NULL")
    with op.batch_alter_table("policy_versions") as table:
        table.drop_column("deleted_at")
