"""Settings: defaults < file (TOML) < environment < flags. `load` is the only reader of all four.

A value that cannot be used raises SettingsError, which names the setting and where it came from; nothing is guessed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from app import upstream_proxy
from proxies.contract import DecisionService, Limits, ProxyType
from proxies.egress_policy import BadTarget, parse_target
from rules.context_firewall import origin_allowed
from rules.policy import ContextFirewall

Environment = Literal["development", "staging", "production"]
BYTES_PER_MB = 1024 * 1024
LOG_LEVELS = ("debug", "info", "warning", "error")
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
CONFIG_VARIABLE = "OSTIARY_CONFIG"
MIN_SECRET_CHARACTERS = 32
MIN_DISTINCT_CHARACTERS = 10
FIRST_BYTE_TIMEOUT_SECONDS: dict[ProxyType, float] = {"llm": 600.0, "mcp": 120.0}
"""The official clients of LLM APIs wait for ten minutes; an answer that is not streamed begins when the model has ended."""
PLACEHOLDER_WORDS = (
    "changeme",
    "change-me",
    "change_me",
    "placeholder",
    "example",
    "your-",
    "your_",
    "password",
    "default",
)


class SettingsError(Exception):
    """A setting cannot be used; the message names it."""

    def __init__(self, setting: str, reason: str) -> None:
        self.setting = setting
        super().__init__(f"Setting {setting}: {reason}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set before the start. Secrets in it never appear in its repr."""

    host: str = "127.0.0.1"
    port: int = 8080
    data_dir: Path = Path("ostiary-data")
    cache_dir: Path | None = None
    """Where compiled rules are kept; inside the data directory when unset. Nothing in it is missed when it is lost."""
    database_url: str = ""
    """Empty for the SQLite file in the data directory."""
    environment: Environment = "development"
    encryption_key: str = ""
    """Empty for the generated key in the data directory."""
    secret_key: str = ""
    """Signs CSRF tokens and the audit chain. Empty for the generated key in the data directory."""
    allowed_hosts: tuple[str, ...] = ()
    """Exact `host` or `host:port` values of the Host header besides the loopback names."""
    allowed_origins: tuple[str, ...] = ()
    public_base_url: str = ""
    workers: int = 1
    max_request_size_mb: int = 10
    """Largest request body of the proxies and of the console, in MiB."""
    enable_metrics: bool = True
    metrics_on_loopback: bool = False
    """Lets a scraper on this machine read /metrics without a token."""
    allow_plain_http: bool = False
    """Permits a listen address beyond loopback although the console itself speaks no TLS."""
    strict: bool = False
    """Refuses to start while a file of rules is damaged; without it, what is sound is served and the rest is refused."""
    retention_alerts_days: int = 90
    retention_requests_days: int = 30
    retention_audit_days: int = 90
    allowed_context_origins: tuple[str, ...] = ()
    """URLs below which the context of LLM requests must lie, where no policy says otherwise."""
    context_firewall_risk_threshold: int = 0
    """Sum of scores from which a chunk of context is refused, where no policy says otherwise; 0 leaves it at 50 where
    origins are set, and without origins the context unchecked."""
    opa_url: str = ""
    """A decision service in the manner of Open Policy Agent that is asked about every LLM call; empty asks nobody."""
    opa_timeout_seconds: float = 1.0
    opa_fail_mode: str = "closed"
    """`closed` refuses LLM calls while the service gives no answer, `open` lets them pass with an alert."""
    upstream_connect_timeout_seconds: float = 10.0
    upstream_first_byte_timeout_seconds: float = 0.0
    """Wait for the head of an answer; 0 is 600 for LLM proxies, whose models may think before they begin, and 120 for MCP."""
    upstream_idle_timeout_seconds: float = 300.0
    """Silence in the middle of an answer."""
    upstream_total_timeout_seconds: float = 900.0
    upstream_keepalive_seconds: float = 55.0
    """How long a connection that nobody uses is kept: less than what servers usually grant."""
    max_upstream_connections: int = 0
    """Connections of one proxy to its upstream; 0 for the default of 8,192."""
    http_proxy: str = ""
    """Proxy towards upstreams whose URL begins with http://; may hold a user and a password."""
    https_proxy: str = ""
    """Proxy towards upstreams whose URL begins with https://."""
    no_proxy: tuple[str, ...] = ("localhost", "127.0.0.0/8", "::1")
    """Targets that are reached directly: names with those below them, addresses, networks, or `*`."""
    admin_password_file: Path | None = None
    open_browser: bool = False
    """Shows the console in the browser of the desktop once it answers."""
    log_level: str = "info"
    drain_timeout_seconds: float = 30.0

    def __repr__(self) -> str:
        return f"<Settings {self.host}:{self.port} data_dir={self.data_dir} environment={self.environment}>"

    @property
    def base_url(self) -> str:
        """Where a person finds the console, without a slash at the end."""
        if self.public_base_url:
            return self.public_base_url
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "localhost") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def upstream_proxies(self) -> upstream_proxy.UpstreamProxies:
        """The proxies on the way to upstreams."""
        return upstream_proxy.UpstreamProxies(
            http=upstream_proxy.parse(self.http_proxy),
            https=upstream_proxy.parse(self.https_proxy),
            no_proxy=self.no_proxy,
        )

    @property
    def decision_service(self) -> DecisionService | None:
        """Who is asked about every LLM call; None where nobody is."""
        if not self.opa_url:
            return None
        return DecisionService(
            url=self.opa_url,
            timeout_seconds=self.opa_timeout_seconds,
            fail_open=self.opa_fail_mode == "open",
            upstream_proxy=self.upstream_proxies.for_target(self.opa_url),
        )

    @property
    def context_firewall(self) -> ContextFirewall | None:
        """What the settings say about the context of LLM requests; None when they say nothing."""
        if not (self.allowed_context_origins or self.context_firewall_risk_threshold):
            return None
        return ContextFirewall(
            allowed_origins=self.allowed_context_origins,
            risk_threshold=self.context_firewall_risk_threshold or ContextFirewall().risk_threshold,
        )

    @property
    def limits(self) -> dict[ProxyType, Limits]:
        """The bounds of the proxies, by type."""
        common = Limits(
            max_body_bytes=self.max_request_bytes,
            connect_timeout_seconds=self.upstream_connect_timeout_seconds,
            idle_timeout_seconds=self.upstream_idle_timeout_seconds,
            total_timeout_seconds=self.upstream_total_timeout_seconds,
            upstream_keepalive_seconds=self.upstream_keepalive_seconds,
            max_upstream_connections=self.max_upstream_connections or Limits().max_upstream_connections,
        )
        chosen = self.upstream_first_byte_timeout_seconds
        return {
            type: msgspec.structs.replace(common, first_byte_timeout_seconds=chosen or default)
            for type, default in FIRST_BYTE_TIMEOUT_SECONDS.items()
        }

    @property
    def max_request_bytes(self) -> int:
        """The largest request body that is taken."""
        return self.max_request_size_mb * BYTES_PER_MB

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the console through TLS (a terminator in front of it)."""
        return self.public_base_url.startswith("https://")


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Merge the four sources and check the result.

    `flags` maps setting names to values; a None means "not given" and the key `config` names the settings file.
    """
    values: dict[str, object] = {}
    config = flags.get("config") or environ.get(CONFIG_VARIABLE)
    if config:
        values |= _read_file(Path(str(config)))
    values |= _read_environment(environ)
    for name, value in flags.items():
        if name != "config" and value is not None:
            values[name] = _parse(name, value, f"--{name.replace('_', '-')}")
    settings = Settings(**values)  # type: ignore[arg-type]
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Refuse combinations and ranges that cannot work; raises SettingsError."""
    _check_range("port", settings.port, 0, 65535)
    _check_range("workers", settings.workers, 1, 64)
    _check_range("max_request_size_mb", settings.max_request_size_mb, 1, 1024)
    _check_range("retention_alerts_days", settings.retention_alerts_days, 7, 3650)
    _check_range("retention_requests_days", settings.retention_requests_days, 7, 3650)
    _check_range("retention_audit_days", settings.retention_audit_days, 30, 3650)
    _check_range("drain_timeout_seconds", settings.drain_timeout_seconds, 0, 3600)
    _check_range("context_firewall_risk_threshold", settings.context_firewall_risk_threshold, 0, 100_000)
    _check_range("upstream_connect_timeout_seconds", settings.upstream_connect_timeout_seconds, 0.1, 300)
    _check_range("upstream_first_byte_timeout_seconds", settings.upstream_first_byte_timeout_seconds, 0, 3600)
    _check_range("upstream_idle_timeout_seconds", settings.upstream_idle_timeout_seconds, 1, 3600)
    _check_range("upstream_total_timeout_seconds", settings.upstream_total_timeout_seconds, 1, 86_400)
    _check_range("upstream_keepalive_seconds", settings.upstream_keepalive_seconds, 0, 3600)
    _check_range("max_upstream_connections", settings.max_upstream_connections, 0, 65_535)
    _check_decision_service(settings)
    for url in settings.allowed_context_origins:
        if not origin_allowed(url, [url]):
            raise SettingsError("allowed_context_origins", f"{url} is no plain URL such as kb://approved/.")
    if settings.environment not in ("development", "staging", "production"):
        raise SettingsError("environment", "must be development, staging or production.")
    if settings.log_level not in LOG_LEVELS:
        raise SettingsError("log_level", f"must be one of {', '.join(LOG_LEVELS)}.")
    for name in ("encryption_key", "secret_key"):
        if secret := getattr(settings, name):
            check_secret(name, secret)
    for origin in settings.allowed_origins:
        _check_origin("allowed_origins", origin)
    if settings.public_base_url:
        _check_origin("public_base_url", settings.public_base_url)
    if settings.database_url and not settings.database_url.startswith("sqlite"):
        raise SettingsError("database_url", "only sqlite:///PATH is served by this version.")
    for name in ("http_proxy", "https_proxy"):
        try:
            upstream_proxy.parse(getattr(settings, name))
        except upstream_proxy.BadProxy as error:
            raise SettingsError(name, str(error)) from None
    if settings.host not in LOOPBACK_HOSTS and not (settings.is_https or settings.allow_plain_http):
        raise SettingsError(
            "host",
            f"{settings.host} is reachable from other machines and the console speaks plain HTTP. Put TLS in front of it "
            "and set PUBLIC_BASE_URL to its https:// address, or accept the risk with --allow-plain-http.",
        )


def _check_decision_service(settings: Settings) -> None:
    _check_range("opa_timeout_seconds", settings.opa_timeout_seconds, 0.01, 60)
    if settings.opa_fail_mode not in ("closed", "open"):
        raise SettingsError("opa_fail_mode", "must be closed or open.")
    if settings.opa_url:
        try:
            parse_target(settings.opa_url)
        except BadTarget as error:
            raise SettingsError("opa_url", f"{error}.") from None


def check_secret(name: str, secret: str) -> None:
    """Refuse a key that is short, guessable or copied from an example (SEC-05).

    The key itself is never in the error.
    """
    if len(secret) < MIN_SECRET_CHARACTERS:
        raise SettingsError(name, f"must have at least {MIN_SECRET_CHARACTERS} characters.")
    lowered = secret.lower()
    if any(word in lowered for word in PLACEHOLDER_WORDS) or len(set(secret)) < MIN_DISTINCT_CHARACTERS:
        raise SettingsError(name, "is a placeholder or guessable. Make a random one: openssl rand -base64 48")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(name, f"must be between {low} and {high}, not {value}.")


def _check_origin(name: str, origin: str) -> None:
    try:
        parts = urlsplit(origin)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if (
        not port_is_valid
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or origin != f"{parts.scheme}://{parts.netloc}"
    ):
        raise SettingsError(name, "must look like https://console.example.org:8443, without path or wildcard.")


# --- Reading --------------------------------------------------------------------------------------------------------


def _read_file(path: Path) -> dict[str, object]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("config", f"cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError("config", f"{path} is not valid TOML: {error}.") from error
    return {name: _parse(name, value, str(path)) for name, value in document.items()}


def _read_environment(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, (variables, _) in READERS.items():
        for variable in variables:
            if environ.get(variable, "") != "":
                values[name] = _parse(name, environ[variable], variable)
                break
    if "database_url" not in values and (path := environ.get("DB_PATH") or environ.get("DATABASE_PATH")):
        values["database_url"] = f"sqlite:///{path}"
    return values


def _parse(name: str, value: object, source: str) -> object:
    if name not in READERS:
        raise SettingsError(name, f"is unknown (in {source}).")
    try:
        return READERS[name][1](value)
    except (TypeError, ValueError) as error:
        raise SettingsError(name, f"{error} (in {source}).") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value.strip()


def _lower(value: object) -> str:
    return _text(value).lower()


def _url(value: object) -> str:
    return _text(value).rstrip("/")


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError("must be a whole number")
    try:
        return int(value)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("must be a number of seconds")
    try:
        return float(value)
    except ValueError:
        raise ValueError("must be a number of seconds") from None


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    word = _lower(value)
    if word not in words:
        raise ValueError("must be true or false")
    return words[word]


def _list(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise TypeError("must be a list")
    return tuple(text for item in items if (text := _text(item)))


def _path(value: object) -> Path:
    text = str(value) if isinstance(value, Path) else _text(value)
    if not text:
        raise ValueError("must be a path")
    return Path(text).expanduser()


READERS: dict[str, tuple[tuple[str, ...], Callable[[object], object]]] = {
    "host": (("OSTIARY_HOST",), _lower),
    "port": (("PORT", "SERVER_PORT"), _integer),
    "data_dir": (("OSTIARY_DATA_DIR",), _path),
    "cache_dir": (("OSTIARY_CACHE_DIR",), _path),
    "database_url": (("DATABASE_URL",), _text),
    "environment": (("ENVIRONMENT",), _lower),
    "encryption_key": (("ENCRYPTION_KEY",), _text),
    "secret_key": (("JWT_SECRET",), _text),
    "allowed_hosts": (("OSTIARY_ALLOWED_HOSTS",), _list),
    "allowed_origins": (("ALLOWED_ORIGINS",), _list),
    "public_base_url": (("PUBLIC_BASE_URL",), _url),
    "workers": (("OSTIARY_WORKERS",), _integer),
    "max_request_size_mb": (("MAX_REQUEST_SIZE_MB",), _integer),
    "enable_metrics": (("ENABLE_METRICS",), _boolean),
    "metrics_on_loopback": (("OSTIARY_METRICS_ON_LOOPBACK",), _boolean),
    "allow_plain_http": (("OSTIARY_ALLOW_PLAIN_HTTP",), _boolean),
    "strict": (("OSTIARY_STRICT",), _boolean),
    "retention_alerts_days": (("DB_RETENTION_ALERTS_DAYS", "DB_RETENTION_DAYS"), _integer),
    "retention_requests_days": (("DB_RETENTION_REQUESTS_DAYS", "DB_RETENTION_DAYS"), _integer),
    "retention_audit_days": (("DB_RETENTION_AUDIT_DAYS", "DB_RETENTION_DAYS"), _integer),
    "allowed_context_origins": (("ALLOWED_CONTEXT_ORIGINS",), _list),
    "context_firewall_risk_threshold": (("CONTEXT_FIREWALL_RISK_THRESHOLD",), _integer),
    "opa_url": (("OPA_URL",), _url),
    "opa_timeout_seconds": (("OPA_TIMEOUT_SECONDS",), _seconds),
    "opa_fail_mode": (("OPA_FAIL_MODE",), _lower),
    "upstream_connect_timeout_seconds": (("HTTP_CLIENT_POOL_TLS_HANDSHAKE_TIMEOUT",), _seconds),
    "upstream_first_byte_timeout_seconds": (("HTTP_CLIENT_POOL_RESPONSE_HEADER_TIMEOUT",), _seconds),
    "upstream_idle_timeout_seconds": (("OSTIARY_UPSTREAM_IDLE_TIMEOUT_SECONDS",), _seconds),
    "upstream_total_timeout_seconds": (("REQUEST_HANDLER_TIMEOUT",), _seconds),
    "upstream_keepalive_seconds": (("HTTP_CLIENT_POOL_IDLE_CONN_TIMEOUT", "HTTP_CLIENT_POOL_IDLE_TIMEOUT"), _seconds),
    "max_upstream_connections": (("HTTP_CLIENT_POOL_MAX_CONNS_PER_HOST",), _integer),
    "http_proxy": (("http_proxy", "HTTP_PROXY"), _text),
    "https_proxy": (("https_proxy", "HTTPS_PROXY"), _text),
    "no_proxy": (("no_proxy", "NO_PROXY"), _list),
    "admin_password_file": (("OSTIARY_ADMIN_PASSWORD_FILE",), _path),
    "open_browser": (("OSTIARY_OPEN_BROWSER",), _boolean),
    "log_level": (("LOG_LEVEL",), _lower),
    "drain_timeout_seconds": (("OSTIARY_DRAIN_TIMEOUT_SECONDS",), _seconds),
}
"""Every setting: the environment variables that give it (the first one that is set wins) and how a raw value is read."""
