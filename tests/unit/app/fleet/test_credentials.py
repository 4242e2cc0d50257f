"""Upstream credentials: what is stored, what is kept, and how references are resolved."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.fleet import credentials
from app.fleet.credentials import CredentialUnavailable
from app.fleet.schemas import UpstreamAuthInput

SECRET = "sk-live-value-1234"


def test_a_new_secret_is_to_be_sealed_and_a_reference_is_to_be_kept_as_text() -> None:
    plan, problems = credentials.plan(UpstreamAuthInput(type="bearer", value=SECRET), is_set=False)
    assert (plan.secret, plan.reference, plan.keep, problems) == (SECRET, None, False, {})
    plan, problems = credentials.plan(UpstreamAuthInput(type="header", name="x-api-key", value="env:KEY"), is_set=False)
    assert (plan.secret, plan.reference, plan.name, problems) == (None, "env:KEY", "x-api-key", {})


def test_without_a_value_what_is_stored_is_kept_and_nothing_stored_is_a_problem() -> None:
    plan, problems = credentials.plan(UpstreamAuthInput(type="bearer"), is_set=True)
    assert plan.keep
    assert not problems
    _, problems = credentials.plan(UpstreamAuthInput(type="bearer"), is_set=False)
    assert set(problems) == {"upstream_auth.value"}


def test_type_none_forgets_what_is_stored_and_takes_no_value() -> None:
    plan, problems = credentials.plan(UpstreamAuthInput(type="none"), is_set=True)
    assert (plan.keep, plan.secret, plan.reference, problems) == (False, None, None, {})
    _, problems = credentials.plan(UpstreamAuthInput(type="none", value="x"), is_set=False)
    assert "upstream_auth.value" in problems


def test_SEC_a_secret_is_in_no_repr() -> None:
    wanted = UpstreamAuthInput(type="bearer", value=SECRET)
    plan, _ = credentials.plan(wanted, is_set=False)
    assert SECRET not in repr(wanted)
    assert SECRET not in repr(plan)


def resolve(reference: str, directory: Path, **environ: str) -> str:
    return credentials.resolve(reference, environ=environ, data_directory=directory / "data")


def test_a_reference_is_resolved_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    assert resolve("env:KEY", tmp_path, KEY=SECRET) == SECRET
    assert resolve(f"file:{file}", tmp_path) == SECRET


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", "schl\u00fcssel".encode(), b"x" * 70_000])
def test_a_file_that_holds_no_credential_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(CredentialUnavailable) as caught:
        resolve(f"file:{file}", tmp_path)
    assert "lines" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialUnavailable, match="env:OPENAI_KEY is missing"):
        resolve("env:OPENAI_KEY", tmp_path)
    with pytest.raises(CredentialUnavailable, match="cannot be read"):
        resolve(f"file:{tmp_path}/nowhere", tmp_path)
    with pytest.raises(CredentialUnavailable, match="regular file"):
        resolve(f"file:{tmp_path}", tmp_path)


def test_SEC_the_gateways_own_secrets_go_to_no_upstream(tmp_path: Path) -> None:
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "encryption.key").write_text(SECRET)
    (tmp_path / "link").symlink_to(keys / "encryption.key")
    for reference in (f"file:{keys}/encryption.key", f"file:{tmp_path}/link", f"file:{keys}/../keys/encryption.key"):
        with pytest.raises(CredentialUnavailable, match="own data directory"):
            resolve(reference, tmp_path)
    with pytest.raises(CredentialUnavailable, match="belongs to the gateway"):
        resolve("env:ENCRYPTION_KEY", tmp_path, ENCRYPTION_KEY=SECRET)
