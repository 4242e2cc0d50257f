"""Whether an upstream can be reached, against real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.errors import ValidationFailed
from app.fleet import connection_check
from app.fleet.connection_check import check_connection
from app.fleet.schemas import CheckConnection, ConnectionReport
from app.upstream_proxy import UpstreamProxies, parse
from tests.certificates import Authority
from tests.forward_proxy import ForwardProxy
from tests.strict_tls import strict_tls_server
from tests.support.console import Console

received: list[bytes] = []


async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    received.append(await reader.read(100))
    writer.close()


@pytest.fixture
async def plain_port() -> AsyncIterator[int]:
    received.clear()
    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test upstream")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


async def check(url: str, ca: str = "") -> ConnectionReport:
    return await check_connection(CheckConnection(target_url=url, upstream_ca_path=ca), UpstreamProxies())


async def test_ADM_16_a_reachable_upstream_is_reported_and_gets_no_request(plain_port: int) -> None:
    report = await check(f"http://127.0.0.1:{plain_port}/v1")
    assert (report.reachable, report.stage, report.address) == (True, "done", f"127.0.0.1:{plain_port}")
    async with asyncio.timeout(10):
        while not received:
            await asyncio.sleep(0)
    assert received == [b""]


async def test_a_closed_port_and_an_unknown_name_are_told_apart(plain_port: int) -> None:
    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    refused = await check(f"http://127.0.0.1:{port}")
    assert (refused.reachable, refused.stage) == (False, "connect")
    unknown = await check("http://no-such-host.invalid")
    assert (unknown.reachable, unknown.stage) == (False, "resolve")


async def test_tls_is_verified_against_the_given_authorities(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(keep, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        untrusted = await check(url)
        assert (untrusted.reachable, untrusted.stage) == (False, "tls")
        assert "certificate" in untrusted.message
        assert (await check(url, str(certificate[0]))).reachable
        missing = await check(url, "/nowhere/ca.pem")
        assert (missing.reachable, missing.stage) == (False, "tls")


async def test_plain_http_behind_an_https_url_is_a_tls_problem(plain_port: int) -> None:
    report = await check(f"https://127.0.0.1:{plain_port}")
    assert not report.reachable
    assert report.stage in ("tls", "connect")


async def test_an_upstream_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(connection_check, "DEADLINE_SECONDS", 0.01)
    monkeypatch.setattr(asyncio, "open_connection", hang)
    report = await check("http://192.0.2.1")
    assert (report.reachable, report.stage) == (False, "connect")
    assert "No answer" in report.message


async def test_SSRF_02_a_name_with_a_forbidden_address_is_not_dialled(
    plain_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    async def mixed(*question: object, **_: object) -> list[tuple[object, ...]]:
        asked.append(question)
        return [(2, 1, 6, "", (address, plain_port)) for address in ("127.0.0.1", "169.254.169.254")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", mixed)
    report = await check(f"http://rebind.test:{plain_port}")
    assert asked == [("rebind.test", plain_port)]
    assert (report.reachable, report.stage) == (False, "resolve")
    assert "169.254.169.254" in report.message
    assert "link-local" in report.message
    assert received == []


async def test_SSRF_02_what_was_checked_is_what_is_dialled(plain_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real, names = loop.getaddrinfo, []

    async def rebinding(host: str, port: int, **options: Any) -> Any:
        names.append(host)
        return await real("127.0.0.1" if host == "rebind.test" else host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", rebinding)
    assert (await check(f"http://rebind.test:{plain_port}")).reachable
    assert names.count("rebind.test") == 1


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "0.0.0.0", "[fd00:ec2::254]"]
)
async def test_ADM_16_the_check_refuses_the_addresses_that_saving_refuses(host: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await check(f"http://{host}/latest/meta-data")
    assert "not allowed" in caught.value.fields["target_url"]


async def test_ADM_16_the_check_refuses_what_saving_would_refuse(console: Console) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await check("file:///etc/passwd", "relative.pem")
    assert set(caught.value.fields) == {"target_url", "upstream_ca_path"}
    answer = await console.client.post(
        "/api/v1/proxies/test-connection", json={"target_url": "ftp://x"}, headers=console.admin
    )
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == ["target_url"]


async def test_a_client_certificate_is_shown_to_the_upstream(certificate: tuple[Path, Path]) -> None:
    cert_path, key_path = (str(path) for path in certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # Its handshake ends after the client has proved itself.
    context.load_cert_chain(cert_path, key_path)
    context.load_verify_locations(cert_path)
    context.verify_mode = ssl.CERT_REQUIRED
    async with strict_tls_server(context) as port:
        refused = await check(f"https://127.0.0.1:{port}", cert_path)
        assert (refused.reachable, refused.stage) == (False, "tls")
    async with strict_tls_server(context) as port:
        url = f"https://127.0.0.1:{port}"
        wanted = CheckConnection(
            target_url=url,
            upstream_ca_path=cert_path,
            upstream_client_cert_path=cert_path,
            upstream_client_key_path=key_path,
        )
        assert (await check_connection(wanted, UpstreamProxies())).reachable
    with pytest.raises(ValidationFailed) as caught:
        await check_connection(CheckConnection(target_url=url, upstream_client_cert_path=cert_path), UpstreamProxies())
    assert set(caught.value.fields) == {"upstream_client_cert_path"}


async def test_a_target_behind_a_proxy_is_checked_on_that_way(plain_port: int, authority: Authority) -> None:
    served = authority.issue("api.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.cert_path, served.key_path)
    server = await asyncio.start_server(keep, "127.0.0.1", 0, ssl=context)
    names = {"api.test:443": server.sockets[0].getsockname()[1], "plain.test:443": plain_port}
    async with server, ForwardProxy(names, authorization="Basic dXNlcjpwYXNz") as proxy:
        way = parse(f"http://user:pass@127.0.0.1:{proxy.port}")
        proxies = UpstreamProxies(http=way, https=way)

        async def ask(url: str, proxies: UpstreamProxies = proxies) -> tuple[str, str]:
            report = await check_connection(
                CheckConnection(target_url=url, upstream_ca_path=authority.ca_path), proxies
            )
            assert "pass" not in report.message
            return report.stage, report.message

        stage, message = await ask("https://api.test/v1")
        assert (stage, f"127.0.0.1:{proxy.port}" in message) == ("done", True)
        assert (await ask("http://api.test"))[0] == "done"
        assert (await ask("https://plain.test"))[0] in ("tls", "connect")
        stage, message = await ask("https://unknown.test")
        assert (stage, "502" in message) == ("connect", True)
        stage, message = await ask("https://api.test", UpstreamProxies(https=parse(f"127.0.0.1:{proxy.port}")))
        assert (stage, "407" in message) == ("connect", True)
        stage, message = await ask("https://api.test", UpstreamProxies(https=parse(f"127.0.0.1:{plain_port}")))
        assert (stage, "as a proxy" in message) == ("connect", True)
        stage, message = await ask("https://metadata.google.internal")
        assert (stage, "not allowed" in message) == ("resolve", True)
        heads = len(proxy.heads)
    stage, message = await ask("https://api.test")
    assert (stage, "cannot be reached" in message) == ("connect", True)
    assert heads == 4
