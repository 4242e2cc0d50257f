"""Upstreams: the certificate that a proxy shows to its target."""

import sqlalchemy as sa
from alembic import op

revision = "0003_upstream_client_certificate"
down_revision = "0002_features"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("upstream_client_cert_path", "upstream_client_key_path"):
        op.add_column("proxies", sa.Column(column, sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    for column in ("upstream_client_key_path", "upstream_client_cert_path"):
        op.drop_column("proxies", column)
