"""Keys outside the database and what the vault seals with them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.paths import DataDirectory, write_private
from app.security.keys import Keys, KeysMissing, derive, load_keys
from app.security.vault import Undecryptable, Vault
from app.settings import Settings, SettingsError

PLACE = {"table": "proxies", "row": "prx_1", "column": "credential"}
PROVIDER_KEY = "a provider's credential"


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_SEC_06_keys_are_for_their_owner_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        directory = DataDirectory(tmp_path / f"data-{umask:o}")
        directory.create()
        load_keys(Settings(), directory, may_generate=True)
    finally:
        os.umask(before)
    for folder in (directory.root, directory.keys, directory.spool, directory.cache, directory.backups):
        assert mode(folder) == 0o700
    for file in directory.keys.iterdir():
        assert mode(file) == 0o600
    assert sorted(file.name for file in directory.keys.iterdir()) == ["encryption.key", "secret.key"]


def test_keys_stay_the_same_and_differ_by_purpose(directory: DataDirectory) -> None:
    first = load_keys(Settings(), directory, may_generate=True)
    again = load_keys(Settings(), directory, may_generate=False)
    assert first.vault == again.vault
    assert len({first.vault, first.key_check, first.csrf, first.audit}) == 4
    assert repr(first) == "<Keys>"


def test_SEC_04_a_missing_key_file_is_not_replaced(directory: DataDirectory) -> None:
    with pytest.raises(KeysMissing, match=r"encryption\.key"):
        load_keys(Settings(), directory, may_generate=False)
    assert list(directory.keys.iterdir()) == []


def test_SEC_06_a_key_that_others_can_read_is_refused(directory: DataDirectory) -> None:
    load_keys(Settings(), directory, may_generate=True)
    (directory.keys / "secret.key").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_keys(Settings(), directory, may_generate=False)


@pytest.mark.parametrize("content", [b"changeme" * 6, b"", b"\xff" * 40])
def test_SEC_05_a_weak_key_file_is_refused(directory: DataDirectory, content: bytes) -> None:
    write_private(directory.keys / "encryption.key", content)
    with pytest.raises(SettingsError, match="encryption_key"):
        load_keys(Settings(), directory, may_generate=True)


def test_a_key_from_the_settings_needs_no_file(directory: DataDirectory) -> None:
    secret = "kJ8s0QmzX2vB7nLr4TyWc1HdPe6FaGu9"
    keys = load_keys(Settings(encryption_key=secret, secret_key=secret), directory, may_generate=False)
    assert keys.vault == derive(secret, "vault")


def test_private_files_are_never_overwritten(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"one")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"


def test_SEC_02_a_sealed_value_opens_only_in_its_place() -> None:
    vault = Vault(Keys("one secret", "another").vault)
    sealed = vault.encrypt(PROVIDER_KEY, **PLACE)
    assert vault.decrypt(sealed, **PLACE) == PROVIDER_KEY
    assert PROVIDER_KEY not in sealed
    assert sealed.split(".")[1] == vault.key_id
    for name in PLACE:
        with pytest.raises(Undecryptable):
            vault.decrypt(sealed, **(PLACE | {name: "elsewhere"}))


def test_SEC_02_the_same_value_is_never_sealed_the_same_way_twice() -> None:
    vault = Vault(derive("a secret", "vault"))
    assert len({vault.encrypt(PROVIDER_KEY, **PLACE) for _ in range(100)}) == 100


def test_SEC_02_every_flipped_character_is_noticed() -> None:
    vault = Vault(derive("a secret", "vault"))
    sealed = vault.encrypt(PROVIDER_KEY, **PLACE)
    # The last character of base64 may hold unused bits, so the one before it stands for the end.
    for position in range(len(sealed) - 4):
        changed = sealed[:position] + ("A" if sealed[position] != "A" else "B") + sealed[position + 1 :]
        with pytest.raises(Undecryptable):
            vault.decrypt(changed, **PLACE)


@pytest.mark.parametrize("sealed", ["", "v1", "v1.x.y", "v2.aaaaaaaa.AAAA", "v1.aaaaaaaa.****", "…"])
def test_SEC_02_what_is_not_sealed_is_refused(sealed: str) -> None:
    with pytest.raises(Undecryptable) as refusal:
        Vault(derive("a secret", "vault")).decrypt(sealed, **PLACE)
    assert "proxies.credential of prx_1" in str(refusal.value)


def test_SEC_02_another_key_does_not_open_it() -> None:
    sealed = Vault(derive("a secret", "vault")).encrypt(PROVIDER_KEY, **PLACE)
    other = Vault(derive("another secret", "vault"))
    with pytest.raises(Undecryptable, match="another key"):
        other.decrypt(sealed, **PLACE)
    assert repr(other) == f"<Vault {other.key_id}>"


def test_SEC_02_sealed_bytes_open_only_whole_in_their_place_with_their_key() -> None:
    vault = Vault(derive("a secret", "vault"))
    sealed = vault.seal(b"clear", **PLACE)
    assert vault.open(sealed, **PLACE) == b"clear"
    assert b"clear" not in sealed
    for damaged in (b"", sealed[:-1], sealed[:10], sealed[:12] + b"x" + sealed[13:]):
        with pytest.raises(Undecryptable):
            vault.open(damaged, **PLACE)
    for name in PLACE:
        with pytest.raises(Undecryptable):
            vault.open(sealed, **(PLACE | {name: "elsewhere"}))
    with pytest.raises(Undecryptable, match="another key"):
        Vault(derive("another secret", "vault")).open(sealed, **PLACE)
