"""Shipped files: hashed names, licences, and nothing that reaches out of the machine."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from app.http.assets import Assets
from app.paths import STATIC, TEMPLATES


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets()


def test_the_url_carries_the_hash_of_the_content(assets: Assets) -> None:
    body = (STATIC / "app.css").read_bytes()
    url = assets.url("app.css")
    assert url == f"/static/app.{hashlib.sha256(body).hexdigest()[:10]}.css"
    found = assets.find(url)
    assert found is not None
    assert found.body == body
    assert gzip.decompress(found.gzipped) == body


def test_a_name_without_or_with_another_hash_is_not_found(assets: Assets) -> None:
    assert assets.find("/static/app.css") is None
    assert assets.find("/static/app.0000000000.css") is None
    assert assets.find("/static/../app/settings.py") is None


def test_a_name_that_is_not_shipped_is_an_error(assets: Assets) -> None:
    with pytest.raises(KeyError):
        assets.url("nothing.css")


def test_vendored_files_are_what_versions_json_says(assets: Assets) -> None:
    listed = {name: digest for package in assets.versions() for name, digest in package["files"].items()}
    shipped = {path.name for path in (STATIC / "vendor").iterdir()} - {"versions.json"}
    assert set(listed) == shipped
    for name, digest in listed.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest, name


def test_every_vendored_package_names_its_licence_and_ships_its_text(assets: Assets) -> None:
    for package in assets.versions():
        assert package["licence"] in {"MIT", "0BSD"}
        assert any(name.endswith(".LICENSE") for name in package["files"]), package["package"]


def test_icons_used_in_templates_are_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor" / "icons.svg").read_text("utf-8")))
    source = "".join(path.read_text("utf-8") for path in TEMPLATES.rglob("*.html"))
    used = set(re.findall(r'icon\("([a-z0-9-]+)"', source)) | set(re.findall(r'empty\("([a-z0-9-]+)"', source))
    assert used <= sprite


@pytest.mark.parametrize(
    "path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.relative_to(TEMPLATES).as_posix()
)
def test_ADM_07_no_template_needs_an_exception_from_the_policy(path: Path) -> None:
    source = path.read_text("utf-8")
    assert not re.search(
        r"""\sstyle\s*=|\son[a-z]+\s*=\s*["']|hx-on|javascript:|\|\s*safe\b|autoescape false""", source
    )
    assert not re.search(r"<script(?![^>]*\ssrc=)", source)
    assert not re.search(r"""(?:src|href)=["']https?://""", source)


@pytest.mark.parametrize("name", ["app.js", "charts.js", "app.css", "tokens.css"])
def test_our_scripts_and_styles_fetch_nothing_from_elsewhere(name: str) -> None:
    source = (STATIC / name).read_text("utf-8")
    assert "http://" not in source
    assert "https://" not in source
    assert "eval(" not in source
    assert "new Function" not in source
