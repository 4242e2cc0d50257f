"""Credentials with which requests of a proxy to its upstream are signed for AWS."""

import sqlalchemy as sa
from alembic import op

revision = "0025_aws_credentials"
down_revision = "0024_tag_policies"
branch_labels = None
depends_on = None

_COLUMNS = (
    "upstream_auth_region",
    "upstream_auth_access_key_id",
    "upstream_auth_session_reference",
    "upstream_auth_session_secret",
)


def upgrade() -> None:
    op.add_column("proxies", sa.Column("upstream_auth_region", sa.String(40), nullable=False, server_default=""))
    op.add_column(
        "proxies", sa.Column("upstream_auth_access_key_id", sa.String(2000), nullable=False, server_default="")
    )
    op.add_column("proxies", sa.Column("upstream_auth_session_reference", sa.Text(), nullable=True))
    op.add_column("proxies", sa.Column("upstream_auth_session_secret", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("proxies") as table:
        for name in reversed(_COLUMNS):
            table.drop_column(name)
