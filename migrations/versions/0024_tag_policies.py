"""The policies of all proxies with a tag."""

import sqlalchemy as sa
from alembic import op

revision = "0024_tag_policies"
down_revision = "0023_denied_calls"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tag_policies",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("tag", sa.String(40), nullable=False),
        sa.Column("policy_names", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("updated_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tag_policies"),
        sa.UniqueConstraint("tenant_id", "tag", name="uq_tag_policies_tenant_id_tag"),
    )
    op.create_index("ix_tag_policies_tenant_id", "tag_policies", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("tag_policies")
