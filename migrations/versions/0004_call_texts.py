"""Captured texts of the calls, and which proxies keep them."""

import sqlalchemy as sa
from alembic import op

revision = "0004_call_texts"
down_revision = "0003_upstream_client_certificate"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proxies", sa.Column("capture", sa.String(10), nullable=False, server_default="all"))
    op.create_table(
        "call_texts",
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name="pk_call_texts"),
    )
    op.create_index("ix_call_texts_tenant_proxy_started", "call_texts", ["tenant_id", "proxy_id", "started_at"])
    op.create_index("ix_call_texts_tenant_started", "call_texts", ["tenant_id", "started_at"])


def downgrade() -> None:
    op.drop_table("call_texts")
    op.drop_column("proxies", "capture")
