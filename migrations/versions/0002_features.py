"""Features: proxies, API keys, the request log with its roll-ups, alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002_features"
down_revision = "0001_core"
branch_labels = None
depends_on = None

ADDED_BUCKETS = 20


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.String(64), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("policy_name", sa.String(100), nullable=False),
        sa.Column("category", sa.String(100), nullable=False),
        sa.Column("action", sa.String(10), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("proxy_name", sa.String(100), nullable=False),
        sa.Column("proxy_type", sa.String(10), nullable=False),
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("target", sa.String(40), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("client_ip", sa.String(64), nullable=False),
        sa.Column("client_agent", sa.String(200), nullable=False),
        sa.Column("principal_id", sa.String(64), nullable=False),
        sa.Column("principal_name", sa.String(100), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("resolved_by", sa.String(100), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("tenant_id", "call_id", "rule_id", name="uq_alerts_tenant_id_call_id_rule_id"),
    )
    op.create_index("ix_alerts_tenant_created", "alerts", ["tenant_id", "created_at"])
    op.create_index("ix_alerts_tenant_proxy_created", "alerts", ["tenant_id", "proxy_id", "created_at"])
    op.create_index("ix_alerts_tenant_status_severity", "alerts", ["tenant_id", "status", "severity", "created_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("proxy_ids", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index("ix_api_keys_tenant_id", "api_keys", ["tenant_id"])
    op.create_table(
        "calls",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("proxy_name", sa.String(100), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("added_ms", sa.Float(), nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("protocol", sa.String(40), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("client_ip", sa.String(64), nullable=False),
        sa.Column("client_agent", sa.String(200), nullable=False),
        sa.Column("principal_id", sa.String(64), nullable=False),
        sa.Column("principal_name", sa.String(100), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("action", sa.String(10), nullable=False),
        sa.Column("verdict", sa.String(10), nullable=False),
        sa.Column("error_code", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request_bytes", sa.BigInteger(), nullable=False),
        sa.Column("response_bytes", sa.BigInteger(), nullable=False),
        sa.Column("streamed", sa.Boolean(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("snapshot_version", sa.Integer(), nullable=False),
        sa.Column("usage", sa.JSON(), nullable=True),
        sa.Column("timings_ms", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calls"),
    )
    op.create_index("ix_calls_tenant_proxy_started", "calls", ["tenant_id", "proxy_id", "started_at"])
    op.create_index("ix_calls_tenant_started", "calls", ["tenant_id", "started_at"])
    op.create_index("ix_calls_tenant_verdict_started", "calls", ["tenant_id", "verdict", "started_at"])
    op.create_table(
        "client_hours",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("client", sa.String(100), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hour", "proxy_id", "client", name="pk_client_hours"),
    )
    op.create_table(
        "proxies",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("name_key", sa.String(200), nullable=False),
        sa.Column("type", sa.String(10), nullable=False),
        sa.Column("transport", sa.String(20), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("target_url", sa.Text(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("auto_start", sa.Boolean(), nullable=False),
        sa.Column("policy_names", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("enforcement", sa.String(10), nullable=False),
        sa.Column("require_auth", sa.Boolean(), nullable=False),
        sa.Column("upstream_auth_type", sa.String(10), nullable=False),
        sa.Column("upstream_auth_name", sa.String(100), nullable=False),
        sa.Column("upstream_auth_reference", sa.Text(), nullable=True),
        sa.Column("upstream_auth_secret", sa.Text(), nullable=True),
        sa.Column("tls_cert_path", sa.Text(), nullable=False),
        sa.Column("tls_key_path", sa.Text(), nullable=False),
        sa.Column("upstream_ca_path", sa.Text(), nullable=False),
        sa.Column("allowed_hosts", sa.JSON(), nullable=False),
        sa.Column("allowed_origins", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_proxies"),
        sa.UniqueConstraint("tenant_id", "name_key", name="uq_proxies_tenant_id_name_key"),
    )
    op.create_index("ix_proxies_tenant_id", "proxies", ["tenant_id"])
    op.create_table(
        "rule_hours",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("proxy_id", sa.String(40), nullable=False),
        sa.Column("rule_id", sa.String(64), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hour", "proxy_id", "rule_id", name="pk_rule_hours"),
    )
    for table, time in (("traffic_minutes", "minute"), ("traffic_hours", "hour")):
        op.create_table(
            table,
            sa.Column("tenant_id", sa.String(40), nullable=False),
            sa.Column(time, sa.Integer(), nullable=False),
            sa.Column("proxy_id", sa.String(40), nullable=False),
            sa.Column("allowed", sa.Integer(), nullable=False),
            sa.Column("alerted", sa.Integer(), nullable=False),
            sa.Column("blocked", sa.Integer(), nullable=False),
            sa.Column("refused", sa.Integer(), nullable=False),
            sa.Column("error", sa.Integer(), nullable=False),
            sa.Column("failed", sa.Integer(), nullable=False),
            sa.Column("request_bytes", sa.BigInteger(), nullable=False),
            sa.Column("response_bytes", sa.BigInteger(), nullable=False),
            sa.Column("input_tokens", sa.BigInteger(), nullable=False),
            sa.Column("output_tokens", sa.BigInteger(), nullable=False),
            sa.Column("duration_ms", sa.Float(), nullable=False),
            *(sa.Column(f"added_{bucket:02d}", sa.Integer(), nullable=False) for bucket in range(ADDED_BUCKETS)),
            sa.PrimaryKeyConstraint("tenant_id", time, "proxy_id", name=f"pk_{table}"),
        )
    op.create_index("ix_traffic_minutes_tenant_proxy_minute", "traffic_minutes", ["tenant_id", "proxy_id", "minute"])


def downgrade() -> None:
    for table in (
        "traffic_minutes",
        "traffic_hours",
        "rule_hours",
        "client_hours",
        "calls",
        "alerts",
        "api_keys",
        "proxies",
    ):
        op.drop_table(table)
