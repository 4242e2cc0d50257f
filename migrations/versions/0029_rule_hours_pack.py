"""Hits are counted by pack and rule: the conditional rules of two policies may share an id."""

from alembic import op

revision = "0029_rule_hours_pack"
down_revision = "0028_guidelines"
branch_labels = None
depends_on = None

TABLE = "rule_hours"
KEY = "pk_rule_hours"
BEFORE = ["tenant_id", "hour", "proxy_id", "rule_id"]


def upgrade() -> None:
    with op.batch_alter_table(TABLE, recreate="auto") as table:
        table.drop_constraint(KEY, type_="primary")
        table.create_primary_key(KEY, [*BEFORE, "pack"])


def downgrade() -> None:
    op.execute(
        "DELETE FROM rule_hours WHERE EXISTS (SELECT 1 FROM rule_hours other"
        " WHERE other.tenant_id = rule_hours.tenant_id AND other.hour = rule_hours.hour"
        " AND other.proxy_id = rule_hours.proxy_id AND other.rule_id = rule_hours.rule_id"
        " AND other.pack > rule_hours.pack)"
    )
    with op.batch_alter_table(TABLE, recreate="auto") as table:
        table.drop_constraint(KEY, type_="primary")
        table.create_primary_key(KEY, BEFORE)
