"""What makes a proxy acceptable, as pure functions: settings in, problems by field name out.

Nothing here looks at the database or the network. Uniqueness of names and ports is decided in `service.py`, whether a
port can be bound is found out by `ports.py` at the start of the proxy.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from proxies.egress_policy import BadTarget, parse_target, refused_address

MAX_NAME_LENGTH = 100
MAX_POLICIES = 20
MAX_TAGS = 20
MAX_ALLOWED_ENTRIES = 50
MAX_EGRESS_HOSTS = 200
MAX_SECRET_LENGTH = 8192
TRANSPORTS = ("http", "sse", "websocket", "stdio")
MAX_DISCOVERY_HOURS = 168
TYPES = ("llm", "mcp")

_LISTENABLE = "Use an IP address of this machine, such as 127.0.0.1, 0.0.0.0 or :: for all, or localhost."
_TARGETABLE = "Use the address or name of the upstream itself; 127.0.0.1 for one on this machine."
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.I
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110 §5.6.2
_TAG = re.compile(r"[^\s\x00-\x1f\x7f,][^\x00-\x1f\x7f,]{0,39}")
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

# The gateway sets or strips these itself; a credential in one of them would break the framing or never arrive.
_RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def name_problem(name: str) -> str | None:
    """Why this cannot be the name of a proxy or key; None when it can."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH or name != name.strip():
        return f"Use 1 to {MAX_NAME_LENGTH} characters, without spaces at the ends."
    if any(unicodedata.category(char).startswith(("C", "Zl", "Zp")) for char in name):
        return "Control characters and invisible characters are not allowed."
    return None


def name_key(name: str) -> str:
    """The form in which two names are the same (INJ-14): NFKC, without case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def target_url_problem(url: str) -> str | None:
    """Why this cannot be an upstream (RFC 3986): only absolute http(s) URLs without user info, query and fragment."""
    if len(url) > 2000:
        return "The URL is longer than 2,000 characters."
    if not _VISIBLE.fullmatch(url) or " " in url:
        return "The URL may hold visible ASCII characters only."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "This is not a valid URL."
    if parts.scheme not in ("http", "https"):
        return "The URL must begin with http:// or https://."
    return _authority_problem(parts, port) or _tail_problem(parts) or _egress_problem(url)


def _authority_problem(parts: SplitResult, port: int | None) -> str | None:
    if "@" in parts.netloc:
        return "The URL must not hold a user name or password; use the upstream credential instead."
    if not parts.hostname or not is_host(parts.hostname):
        return "The URL needs a valid host."
    if port == 0:
        return "The port of the URL must be 1 to 65535."
    return None


def _tail_problem(parts: SplitResult) -> str | None:
    if parts.fragment:
        return "The URL must not hold a fragment (#…)."
    if parts.query:
        return "The URL must not hold a query (?…); the client's own query is passed on."
    if "\\" in parts.path:
        return "The URL must not hold a backslash."
    return None


def _egress_problem(url: str) -> str | None:
    """What the workers would say: the same parser, and for a literal address the same policy (SSRF-01, 04)."""
    try:
        host = parse_target(url).host
    except BadTarget as error:
        return f"The URL cannot be used: {error}."
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None  # A name is judged by the addresses that it has when it is dialled.
    if reason := refused_address(address):
        return f"The address {address} is not allowed: {reason}. {_TARGETABLE}"
    return None


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, lower-case host and effective port of a URL that `target_url_problem` accepted."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def is_host(text: str) -> bool:
    """Whether this is an IP address or a syntactically valid host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # A dotted number that is no address ("1.2.3", "256.1.1.1") is resolved differently from system to system.
        return bool(_HOST_NAME.fullmatch(text)) and not text.rsplit(".", 1)[-1].isdigit()
    return True


def is_loopback(host: str) -> bool:
    """Whether a listener on this host can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_problem(host: str) -> str | None:
    """Why a proxy cannot listen on this host: `ports.bind` takes an IP literal or `localhost` and looks nothing up."""
    if host == "localhost":
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"A host name cannot be listened on. {_LISTENABLE}"
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id):
        return f"This form of an address cannot be listened on. {_LISTENABLE}"
    if address.is_multicast or host == "255.255.255.255":
        return f"This is not the address of one machine. {_LISTENABLE}"
    return None


def port_problem(port: int) -> str | None:
    """Why a proxy cannot listen on this port. Port 0 is refused: clients need a port that stays."""
    return None if 1 <= port <= 65535 else "The port must be 1 to 65535."


def exposure_problem(host: str, *, require_auth: bool) -> str | None:
    """G-02: whoever can reach the port can spend the upstream credential, so an open port stays on this machine."""
    if require_auth or is_loopback(host):
        return None
    return "A proxy without API keys may listen on 127.0.0.1 only. Turn on require_auth or set host to 127.0.0.1."


def transport_problem(transport: str, type_: str = "mcp") -> str | None:
    """How an MCP server is reached is a choice; an LLM API speaks HTTP."""
    if transport not in TRANSPORTS:
        return "The transport must be http, sse, websocket or stdio."
    if transport != "http" and type_ != "mcp":
        return f"Only proxies of type mcp have the transport {transport}."
    return None


def type_problem(type_: str) -> str | None:
    """LLM and MCP proxies exist; A2A does not yet."""
    return None if type_ in TYPES else "Only the types llm and mcp are supported in this version."


def tags_problem(tags: Sequence[str]) -> str | None:
    """At most 20 tags of 1 to 40 characters each."""
    if len(tags) > MAX_TAGS:
        return f"At most {MAX_TAGS} tags."
    if not all(_TAG.fullmatch(tag) for tag in tags):
        return "A tag has 1 to 40 characters, no comma, and begins with a visible one."
    return "A tag is given twice." if len(set(tags)) != len(tags) else None


def policy_names_problem(names: Sequence[str]) -> str | None:
    """At most 20 policies, none twice; whether they exist is decided by the policy library."""
    if len(names) > MAX_POLICIES:
        return f"At most {MAX_POLICIES} policies."
    return "A policy is given twice." if len(set(names)) != len(names) else None


def allowed_hosts_problem(hosts: Sequence[str]) -> str | None:
    """Exact Host values (`name` or `name:port`); wildcards would open DNS rebinding again."""
    if len(hosts) > MAX_ALLOWED_ENTRIES:
        return f"At most {MAX_ALLOWED_ENTRIES} hosts."
    for host in hosts:
        if not _is_host_value(host):
            return "Each entry is an exact host, such as gateway.example.org or gateway.example.org:4000."
    return None


def egress_hosts_problem(hosts: Sequence[str]) -> str | None:
    """Hosts without a port, also `*.` and what they lie below; anything else would name nothing."""
    if len(hosts) > MAX_EGRESS_HOSTS:
        return f"At most {MAX_EGRESS_HOSTS} hosts."
    for host in hosts:
        name = host.removeprefix("*.")
        if name != name.lower() or not is_host(name) or (name is not host and "." not in name):
            return "Each entry is a host in lower case without a port, such as api.example.org, or *.example.org."
    return None


def _is_host_value(value: str) -> bool:
    try:
        parts = urlsplit("//" + value)
        valid_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        bool(parts.hostname)
        and valid_port
        and parts.netloc == value
        and "@" not in value
        and is_host(parts.hostname or "")
    )


def discovery_interval_problem(hours: int) -> str:
    """How often a server may be asked for its tools by itself."""
    if 0 <= hours <= MAX_DISCOVERY_HOURS:
        return ""
    return f"Use 1 to {MAX_DISCOVERY_HOURS} hours, or 0 for never."


def allowed_origins_problem(origins: Sequence[str]) -> str | None:
    """Exact origins (RFC 6454 §6.2: scheme, host, optional port); neither `*` nor `null`."""
    if len(origins) > MAX_ALLOWED_ENTRIES:
        return f"At most {MAX_ALLOWED_ENTRIES} origins."
    for value in origins:
        scheme, separator, rest = value.partition("://")
        if scheme not in ("http", "https") or not separator or not _is_host_value(rest):
            return "Each entry is an exact origin, such as https://app.example.org."
    return None


def path_problem(path: str) -> str | None:
    """A file path of ours is absolute, so that it means the same in every process."""
    if not path:
        return None
    if len(path) > 1000 or any(ord(char) < 32 for char in path):
        return "The path is too long or holds control characters."
    if not (path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path)):
        return "Give an absolute path."
    return None


def pair_problems(**paths: str) -> dict[str, str | None]:
    """What is wrong with the paths of a certificate and its key, by field name: a certificate needs its key and the
    other way round. The problem of the pair is shown at the first field."""
    problems = {name: path_problem(path) for name, path in paths.items()}
    first = next(iter(paths))
    if len({bool(path) for path in paths.values()}) > 1 and problems[first] is None:
        problems[first] = "Give both the certificate and the key, or neither."
    return problems


def is_reference(value: str) -> bool:
    """Whether a credential is a pointer to the secret (`env:NAME`, `file:PATH`) and not the secret itself."""
    return value.startswith(("env:", "file:"))


def credential_problem(value: str) -> str | None:
    """Why this cannot be a credential. The text never repeats the value."""
    if value.startswith("env:"):
        return (
            None if _ENVIRONMENT_NAME.fullmatch(value[4:]) else "After env: comes the name of an environment variable."
        )
    if value.startswith("file:"):
        return path_problem(value[5:]) if value[5:] else "After file: comes the absolute path of a file."
    return secret_problem(value)


def secret_problem(secret: str) -> str | None:
    """Why this cannot be sent in a header field (RFC 9110 §5.5); also applied to what a reference resolves to."""
    if not secret:
        return "The credential is empty."
    if len(secret) > MAX_SECRET_LENGTH:
        return f"The credential is longer than {MAX_SECRET_LENGTH} characters."
    if not _VISIBLE.fullmatch(secret):
        return "The credential may hold visible ASCII characters only, without line breaks."
    return None


def header_name_problem(name: str) -> str | None:
    """Why an upstream credential cannot be sent in this header."""
    if not _TOKEN.fullmatch(name):
        return "Give the name of a header, such as x-api-key."
    if name.lower() in _RESERVED_HEADERS:
        return f"The header {name.lower()} is set by the gateway itself."
    return None
