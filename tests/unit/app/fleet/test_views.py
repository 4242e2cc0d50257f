"""What is shown of a proxy: addresses and durations in words."""

from __future__ import annotations

import pytest

from app.fleet.models import Proxy
from app.fleet.views import duration_words, listen_url


@pytest.mark.parametrize(
    ("host", "certificate", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:4000"),
        ("0.0.0.0", "", "http://127.0.0.1:4000"),
        ("::", "", "http://[::1]:4000"),
        ("::1", "/cert.pem", "https://[::1]:4000"),
        ("gw.example.org", "/cert.pem", "https://gw.example.org:4000"),
    ],
)
def test_the_listen_url_is_one_that_a_client_can_use(host: str, certificate: str, url: str) -> None:
    assert listen_url(Proxy(host=host, port=4000, tls_cert_path=certificate)) == url


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (59, "59s"), (60, "1m 0s"), (8130, "2h 15m 30s"), (90_000, "25h 0m 0s")]
)
def test_a_duration_is_written_as_documented(seconds: int, words: str) -> None:
    assert duration_words(seconds) == words
