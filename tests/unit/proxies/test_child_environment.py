"""What programs that are not ours see of our environment."""

from __future__ import annotations

import pytest

from proxies.child_environment import DEFAULT_PATH, changes_code, server_environment, without_loader

LOADER = {"LD_LIBRARY_PATH": "/bundle", "_PYI_ARCHIVE_FILE": "x", "_MEIPASS2": "y", "OSTIARY_DATA_DIR": "z", "A": "1"}


def test_P_05_the_frozen_executables_variables_do_not_leak() -> None:
    assert without_loader(LOADER, frozen=True) == {"A": "1"}
    assert without_loader({**LOADER, "LD_LIBRARY_PATH_ORIG": "/own"}, frozen=True) == {
        "LD_LIBRARY_PATH": "/own",
        "A": "1",
    }
    assert without_loader(LOADER, frozen=False) == {"LD_LIBRARY_PATH": "/bundle", "A": "1"}


def test_P_05_a_server_gets_plain_variables_and_its_own() -> None:
    environ = {**LOADER, "PATH": "/bin", "LC_TIME": "C", "HOME": "/h", "ENCRYPTION_KEY": "k", "OPENAI_API_KEY": "k"}
    seen = server_environment(environ, {"TOKEN": "t", "HOME": "/other"})
    assert seen == {"PATH": "/bin", "LC_TIME": "C", "HOME": "/other", "TOKEN": "t"}
    assert server_environment({}, {}) == {"PATH": DEFAULT_PATH}
    assert server_environment({}, {"OSTIARY_WORKER": "x"}, 7) == {"PATH": DEFAULT_PATH, "OSTIARY_WORKER": "7"}


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "ld_preload", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "PYTHONPATH", "BASH_ENV"]
)
def test_P_05_variables_that_load_code_are_told(name: str) -> None:
    assert changes_code(name)


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "GITHUB_TOKEN", "LDAP_PASSWORD", "ENVIRONMENT", "NODE_ENV", "PYTHONUNBUFFERED"]
)
def test_P_05_other_variables_are_not(name: str) -> None:
    assert not changes_code(name)
