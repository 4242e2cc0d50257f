"""States of declarations that have raised their alert."""

import sqlalchemy as sa
from alembic import op

revision = "0026_alerted_declarations"
down_revision = "0025_aws_credentials"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerted_declarations",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("alerted_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "state", name="pk_alerted_declarations"),
    )
    op.create_index("ix_alerted_declarations_alerted_at", "alerted_declarations", ["alerted_at"])


def downgrade() -> None:
    op.drop_table("alerted_declarations")
