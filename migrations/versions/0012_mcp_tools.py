"""What MCP servers declare, what was approved of it, calls that wait for a person, and how tools are used."""

import sqlalchemy as sa
from alembic import op

revision = "0012_mcp_tools"
down_revision = "0011_scans"
branch_labels = None
depends_on = None

TABLES = (
    "mcp_versions",
    "mcp_overrides",
    "mcp_changes",
    "mcp_entries",
    "mcp_held_calls",
    "mcp_servers",
    "mcp_tool_keys",
    "mcp_tool_hours",
)


def upgrade() -> None:
    op.create_table(
        "mcp_tool_hours",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("tool", sa.String(200), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("result_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "proxy_id", "hour", "tool", name="pk_mcp_tool_hours"),
    )
    op.create_index("ix_mcp_tool_hours_hour", "mcp_tool_hours", ["tenant_id", "hour"], unique=False)
    op.create_table(
        "mcp_tool_keys",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("tool", sa.String(200), nullable=False),
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "proxy_id", "tool", "key", name="pk_mcp_tool_keys"),
    )
    op.create_index("ix_mcp_tool_keys_first_seen", "mcp_tool_keys", ["tenant_id", "first_seen_at"], unique=False)
    op.create_table(
        "mcp_entries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("is_missing", sa.Boolean(), nullable=False),
        sa.Column("is_blocked", sa.Boolean(), nullable=False),
        sa.Column("approved_hash", sa.String(64), nullable=False),
        sa.Column("approved_document", sa.LargeBinary(), nullable=True),
        sa.Column("approved_findings", sa.JSON(), nullable=False),
        sa.Column("approved_version", sa.Integer(), nullable=False),
        sa.Column("approved_at", sa.DateTime(), nullable=True),
        sa.Column("approved_by", sa.String(100), nullable=False),
        sa.Column("tolerated", sa.JSON(), nullable=False),
        sa.Column("current_hash", sa.String(64), nullable=False),
        sa.Column("current_sem", sa.String(64), nullable=False),
        sa.Column("current_document", sa.LargeBinary(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("capabilities", sa.JSON(), nullable=False),
        sa.Column("risk", sa.String(10), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["proxy_id"], ["proxies.id"], name="fk_mcp_entries_proxy_id_proxies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mcp_entries"),
        sa.UniqueConstraint("proxy_id", "kind", "name_key", name="uq_mcp_entries_proxy_id_kind_name_key"),
    )
    op.create_index("ix_mcp_entries_tenant_kind", "mcp_entries", ["tenant_id", "kind"], unique=False)
    op.create_index("ix_mcp_entries_tenant_state", "mcp_entries", ["tenant_id", "state"], unique=False)
    op.create_table(
        "mcp_held_calls",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("snapshot_version", sa.Integer(), nullable=False),
        sa.Column("principal_id", sa.String(64), nullable=False),
        sa.Column("principal_name", sa.String(100), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("h_raw", sa.String(64), nullable=False),
        sa.Column("sealed_arguments", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("held_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("decided_by", sa.String(100), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["proxy_id"], ["proxies.id"], name="fk_mcp_held_calls_proxy_id_proxies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mcp_held_calls"),
    )
    op.create_index(
        "ix_mcp_held_calls_tenant_status", "mcp_held_calls", ["tenant_id", "status", "held_at"], unique=False
    )
    op.create_table(
        "mcp_servers",
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(), nullable=True),
        sa.Column("last_trigger", sa.String(20), nullable=False),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("discovered_at", sa.DateTime(), nullable=True),
        sa.Column("next_discovery_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["proxy_id"], ["proxies.id"], name="fk_mcp_servers_proxy_id_proxies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("proxy_id", name="pk_mcp_servers"),
    )
    op.create_table(
        "mcp_changes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("entry_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("similarity", sa.Float(), nullable=True),
        sa.Column("renamed_from", sa.Text(), nullable=False),
        sa.Column("before_hash", sa.String(64), nullable=False),
        sa.Column("after_hash", sa.String(64), nullable=False),
        sa.Column("before_document", sa.LargeBinary(), nullable=True),
        sa.Column("after_document", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("detected_at", sa.DateTime(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("decided_by", sa.String(100), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["mcp_entries.id"], name="fk_mcp_changes_entry_id_mcp_entries", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["proxy_id"], ["proxies.id"], name="fk_mcp_changes_proxy_id_proxies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mcp_changes"),
    )
    op.create_index("ix_mcp_changes_entry", "mcp_changes", ["entry_id", "detected_at"], unique=False)
    op.create_index("ix_mcp_changes_proxy_detected", "mcp_changes", ["proxy_id", "detected_at"], unique=False)
    op.create_index("ix_mcp_changes_tenant_status", "mcp_changes", ["tenant_id", "status", "detected_at"], unique=False)
    op.create_table(
        "mcp_overrides",
        sa.Column("entry_id", sa.String(40), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.Column("set_by", sa.String(100), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["mcp_entries.id"], name="fk_mcp_overrides_entry_id_mcp_entries", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name="fk_mcp_overrides_key_id_api_keys", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["proxy_id"], ["proxies.id"], name="fk_mcp_overrides_proxy_id_proxies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("entry_id", "key_id", name="pk_mcp_overrides"),
    )
    op.create_index("ix_mcp_overrides_proxy_id", "mcp_overrides", ["proxy_id"], unique=False)
    op.create_table(
        "mcp_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("entry_id", sa.String(40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("h_raw", sa.String(64), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("change_id", sa.String(40), nullable=False),
        sa.Column("approved_at", sa.DateTime(), nullable=False),
        sa.Column("approved_by", sa.String(100), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["mcp_entries.id"], name="fk_mcp_versions_entry_id_mcp_entries", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["proxy_id"], ["proxies.id"], name="fk_mcp_versions_proxy_id_proxies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mcp_versions"),
        sa.UniqueConstraint("entry_id", "version", name="uq_mcp_versions_entry_id_version"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
