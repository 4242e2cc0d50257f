"""The user that a started program runs as."""

import sqlalchemy as sa
from alembic import op

revision = "0027_launch_run_as"
down_revision = "0026_alerted_declarations"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("launch_programs", sa.Column("run_as", sa.String(40), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("launch_programs") as table:
        table.drop_column("run_as")
