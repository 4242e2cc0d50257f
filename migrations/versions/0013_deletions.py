"""What is deleted stays for a moment, so that it can be restored, and keeps no name from others."""

import sqlalchemy as sa
from alembic import op

revision = "0013_deletions"
down_revision = "0012_mcp_tools"
branch_labels = None
depends_on = None

NAMED = {"proxies": "name_key", "canaries": "name", "policies": "name"}
OTHERS = ("api_keys", "launch_programs")
LIVING = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    for table, name in NAMED.items():
        index = f"uq_{table}_tenant_id_{name}"
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("deleted_at", sa.DateTime(), nullable=True))
            batch.drop_constraint(index, type_="unique")
        op.create_index(index, table, ["tenant_id", name], unique=True, sqlite_where=LIVING, postgresql_where=LIVING)
    for table in OTHERS:
        op.add_column(table, sa.Column("deleted_at", sa.DateTime(), nullable=True))


def _forget_deleted(table: str) -> None:
    deleted_at = sa.column("deleted_at")
    op.execute(sa.delete(sa.table(table, deleted_at)).where(deleted_at.is_not(None)))


def downgrade() -> None:
    for table in OTHERS:
        _forget_deleted(table)
        op.drop_column(table, "deleted_at")
    for table, name in NAMED.items():
        index = f"uq_{table}_tenant_id_{name}"
        _forget_deleted(table)
        op.drop_index(index, table_name=table)
        with op.batch_alter_table(table) as batch:
            batch.drop_column("deleted_at")
            batch.create_unique_constraint(index, ["tenant_id", name])
