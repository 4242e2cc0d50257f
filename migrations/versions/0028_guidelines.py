"""Guidelines: documents whose passages alerts cite."""

import sqlalchemy as sa
from alembic import op

revision = "0028_guidelines"
down_revision = "0027_launch_run_as"
branch_labels = None
depends_on = None

LIVING = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "guidelines",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("characters", sa.Integer(), nullable=False),
        sa.Column("passages", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_guidelines"),
    )
    op.create_index("ix_guidelines_tenant_id", "guidelines", ["tenant_id"])
    op.create_index(
        "uq_guidelines_tenant_id_name",
        "guidelines",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=LIVING,
        postgresql_where=LIVING,
    )


def downgrade() -> None:
    op.drop_table("guidelines")
