"""Where settings come from, which of them wins, and what is refused with the name of the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import READERS, Settings, SettingsError, check_secret, load
from app.unused_variables import UNUSED, unused
from proxies.contract import DecisionService, Limits

GOOD_SECRET = "kJ8s0QmzX2vB7nLr4TyWc1HdPe6FaGu9"


def test_defaults_serve_loopback_only() -> None:
    settings = load({}, {})
    assert (settings.host, settings.port, settings.environment) == ("127.0.0.1", 8080, "development")
    assert settings.base_url == "http://127.0.0.1:8080"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ostiary.toml"
    file.write_text('port = 1001\nworkers = 3\nhost = "::1"\nallowed_hosts = ["a.test:1", "b.test:2"]\n')
    settings = load({"config": str(file), "port": 1003, "workers": None}, {"PORT": "1002", "MAX_REQUEST_SIZE_MB": "7"})
    assert (settings.port, settings.workers, settings.max_request_size_mb) == (1003, 3, 7)
    assert settings.allowed_hosts == ("a.test:1", "b.test:2")
    assert load({}, {"OSTIARY_CONFIG": str(file), "PORT": "1002"}).port == 1002


def test_the_older_name_of_the_database_path_is_honoured_behind_the_newer_one() -> None:
    assert load({}, {"DATABASE_PATH": "/srv/old.db"}).database_url == "sqlite:////srv/old.db"
    both = {"DATABASE_PATH": "/srv/old.db", "DB_PATH": "/srv/new.db"}
    assert load({}, both).database_url == "sqlite:////srv/new.db"


def test_documented_environment_variables_are_honoured() -> None:
    environ = {
        "SERVER_PORT": "9001",
        "OSTIARY_DATA_DIR": "/srv/ostiary",
        "DB_PATH": "/srv/gateway.db",
        "ENVIRONMENT": "production",
        "ENCRYPTION_KEY": GOOD_SECRET,
        "JWT_SECRET": GOOD_SECRET[::-1],
        "ALLOWED_ORIGINS": "https://a.test, https://b.test:8443",
        "PUBLIC_BASE_URL": "https://console.test/",
        "OSTIARY_WORKERS": "2",
        "ENABLE_METRICS": "false",
        "DB_RETENTION_DAYS": "60",
        "DB_RETENTION_REQUESTS_DAYS": "14",
    }
    settings = load({}, environ)
    assert settings.port == 9001
    assert settings.data_dir == Path("/srv/ostiary")
    assert settings.database_url == "sqlite:////srv/gateway.db"
    assert settings.environment == "production"
    assert settings.allowed_origins == ("https://a.test", "https://b.test:8443")
    assert settings.base_url == "https://console.test"
    assert settings.is_https
    assert (settings.workers, settings.enable_metrics) == (2, False)
    assert (settings.retention_alerts_days, settings.retention_requests_days) == (60, 14)


@pytest.mark.parametrize(
    ("flags", "environ", "setting"),
    [
        ({"port": 65536}, {}, "port"),
        ({"port": True}, {}, "port"),
        ({}, {"PORT": "eighty"}, "port"),
        ({}, {"OSTIARY_WORKERS": "0"}, "workers"),
        ({}, {"MAX_REQUEST_SIZE_MB": "-1"}, "max_request_size_mb"),
        ({}, {"ENVIRONMENT": "prod"}, "environment"),
        ({}, {"ENABLE_METRICS": "perhaps"}, "enable_metrics"),
        ({}, {"LOG_LEVEL": "loud"}, "log_level"),
        ({}, {"OSTIARY_DRAIN_TIMEOUT_SECONDS": "soon"}, "drain_timeout_seconds"),
        ({}, {"DB_RETENTION_AUDIT_DAYS": "5"}, "retention_audit_days"),
        ({}, {"DATABASE_URL": "postgresql://db/ostiary"}, "database_url"),
        ({}, {"PUBLIC_BASE_URL": "console.test"}, "public_base_url"),
        ({}, {"PUBLIC_BASE_URL": "https://console.test:99999"}, "public_base_url"),
        ({}, {"ALLOWED_ORIGINS": "*"}, "allowed_origins"),
        ({}, {"OPA_URL": "opa.test:8181"}, "opa_url"),
        ({}, {"OPA_URL": "http://user:secret@opa.test"}, "opa_url"),
        ({}, {"OPA_TIMEOUT_SECONDS": "0"}, "opa_timeout_seconds"),
        ({}, {"OPA_FAIL_MODE": "ajar"}, "opa_fail_mode"),
        ({}, {"REQUEST_HANDLER_TIMEOUT": "0"}, "upstream_total_timeout_seconds"),
        ({}, {"HTTP_CLIENT_POOL_TLS_HANDSHAKE_TIMEOUT": "0"}, "upstream_connect_timeout_seconds"),
        ({}, {"HTTP_CLIENT_POOL_RESPONSE_HEADER_TIMEOUT": "-1"}, "upstream_first_byte_timeout_seconds"),
        ({}, {"OSTIARY_UPSTREAM_IDLE_TIMEOUT_SECONDS": "0"}, "upstream_idle_timeout_seconds"),
        ({}, {"HTTP_CLIENT_POOL_IDLE_CONN_TIMEOUT": "-1"}, "upstream_keepalive_seconds"),
        ({}, {"HTTP_CLIENT_POOL_MAX_CONNS_PER_HOST": "many"}, "max_upstream_connections"),
        ({}, {"ALLOWED_ORIGINS": "https://a.test/path"}, "allowed_origins"),
        ({"host": "0.0.0.0"}, {}, "host"),
        ({"colour": "red"}, {}, "colour"),
        ({"data_dir": ""}, {}, "data_dir"),
        ({"allowed_hosts": 3}, {}, "allowed_hosts"),
        ({"host": 3}, {}, "host"),
        ({"enable_metrics": []}, {}, "enable_metrics"),
        ({"drain_timeout_seconds": True}, {}, "drain_timeout_seconds"),
        ({"config": "/nowhere/ostiary.toml"}, {}, "config"),
    ],
)
def test_bad_values_are_refused_naming_the_setting(
    flags: dict[str, object], environ: dict[str, str], setting: str
) -> None:
    with pytest.raises(SettingsError, match=f"Setting {setting}: ") as refusal:
        load(flags, environ)
    assert refusal.value.setting == setting


def test_SLG_POL_1_the_decision_service_is_a_setting_and_closed_by_default() -> None:
    assert load({}, {}).decision_service is None
    service = load({}, {"OPA_URL": "http://127.0.0.1:8181/"}).decision_service
    assert service == DecisionService(url="http://127.0.0.1:8181", timeout_seconds=1.0, fail_open=False)
    environ = {"OPA_URL": "https://opa.test", "OPA_FAIL_MODE": "open", "OPA_TIMEOUT_SECONDS": "0.25"}
    service = load({}, {**environ, "HTTPS_PROXY": "http://proxy.test:3128"}).decision_service
    assert service is not None
    assert (service.fail_open, service.timeout_seconds) == (True, 0.25)
    assert service.upstream_proxy is not None
    assert service.upstream_proxy.address == "proxy.test:3128"


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ostiary.toml"
    file.write_text("port: 80")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load({"config": str(file)}, {})


def test_ADM_01_beyond_loopback_needs_tls_in_front_or_an_explicit_flag() -> None:
    assert load({"host": "0.0.0.0", "allow_plain_http": True}, {}).host == "0.0.0.0"
    assert load({"host": "0.0.0.0"}, {"PUBLIC_BASE_URL": "https://console.test"}).host == "0.0.0.0"
    with pytest.raises(SettingsError, match="--allow-plain-http"):
        load({"host": "192.0.2.1"}, {"PUBLIC_BASE_URL": "http://console.test"})


@pytest.mark.parametrize(
    "secret",
    [
        "short",
        "a" * 40,
        "changeme-changeme-changeme-changeme",
        "your-secret-key-must-be-32-chars-long!",
        "1234567890" * 3,
    ],
)
def test_SEC_05_weak_and_placeholder_keys_are_refused_without_repeating_them(secret: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load({}, {"ENCRYPTION_KEY": secret})
    assert refusal.value.setting == "encryption_key"
    assert secret not in str(refusal.value)


def test_SEC_05_a_random_key_is_accepted() -> None:
    check_secret("secret_key", GOOD_SECRET)


def test_settings_never_show_their_secrets() -> None:
    settings = Settings(encryption_key=GOOD_SECRET, secret_key=GOOD_SECRET)
    assert GOOD_SECRET not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:81"), ("::1", "http://[::1]:81"), ("192.0.2.1", "http://192.0.2.1:81")],
)
def test_base_url_is_one_that_a_browser_can_open(host: str, url: str) -> None:
    assert Settings(host=host, port=81).base_url == url


def test_AG_SH_3_upstreams_get_a_time_for_each_part_of_an_answer() -> None:
    limits = load({}, {}).limits
    assert (limits["llm"].first_byte_timeout_seconds, limits["mcp"].first_byte_timeout_seconds) == (600, 120)
    assert limits["llm"].max_upstream_connections == Limits().max_upstream_connections
    environ = {
        "MAX_REQUEST_SIZE_MB": "3",
        "REQUEST_HANDLER_TIMEOUT": "60",
        "OSTIARY_UPSTREAM_IDLE_TIMEOUT_SECONDS": "20",
        "HTTP_CLIENT_POOL_TLS_HANDSHAKE_TIMEOUT": "2.5",
        "HTTP_CLIENT_POOL_RESPONSE_HEADER_TIMEOUT": "15",
        "HTTP_CLIENT_POOL_IDLE_CONN_TIMEOUT": "90",
        "HTTP_CLIENT_POOL_MAX_CONNS_PER_HOST": "12",
    }
    wanted = Limits(
        max_body_bytes=3 * 1024 * 1024,
        total_timeout_seconds=60,
        idle_timeout_seconds=20,
        connect_timeout_seconds=2.5,
        first_byte_timeout_seconds=15,
        upstream_keepalive_seconds=90,
        max_upstream_connections=12,
    )
    assert load({}, environ).limits == {"llm": wanted, "mcp": wanted}


def test_variables_of_other_gateways_that_have_no_effect_are_named_with_the_reason() -> None:
    environ = {
        "WEBSOCKET_PING": "30",
        "DB_QUERY_TIMEOUT": "10",
        "DB_PATH": "x.db",
        "GOGC": "",
        "GOGCX": "1",
        "PORT": "1",
    }
    idle = "HTTP_CLIENT_POOL_MAX_IDLE_CONNS_PER_HOST"
    assert list(unused({**environ, idle: "10"})) == ["DB_QUERY_TIMEOUT", idle, "WEBSOCKET_PING"]
    assert not set(UNUSED) & {variable for variables, _ in READERS.values() for variable in variables}
