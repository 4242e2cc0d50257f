"""The command line: what it starts, what it refuses and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from app.version import __version__
from tests.support.console import ROOT


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The settings with which a console would have been started."""
    seen: list[object] = []
    monkeypatch.setattr("app.startup.serve", seen.append)
    monkeypatch.setattr("app.logs.configure", lambda settings: None)
    for name in ("PORT", "OSTIARY_CONFIG", "OSTIARY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return seen


@pytest.mark.parametrize("words", [["serve", "--port", "9"], ["--port", "9"]])
def test_serve_is_the_default_and_takes_flags(served: list[object], words: list[str]) -> None:
    assert cli.run(words) == 0
    (settings,) = served
    assert settings.port == 9  # type: ignore[attr-defined]


def test_without_words_the_console_starts(served: list[object]) -> None:
    assert cli.run([]) == 0
    assert len(served) == 1


def test_bad_settings_are_refused_on_one_line_naming_the_setting(
    served: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--port", "99999"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("ostiary: Setting port: ")
    assert told.count("\n") == 1
    assert served == []


@pytest.mark.parametrize("words", [["serve", "--colour"], ["fly"], ["worker"]])
def test_unknown_words_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run(words)
    assert end.value.code == 2


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["version"]) == 0
    with pytest.raises(SystemExit) as end:
        cli.run(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n{__version__}\n"


def test_a_worker_is_run_with_its_descriptors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def run(**arguments: object) -> int:
        seen.update(arguments)
        return 3

    monkeypatch.setattr("proxies.worker.run", run)
    code = cli.run(["worker", "--channel-fd", "3", "--sockets-fd", "4", "--spool-dir", str(tmp_path)])
    assert code == 3
    assert seen == {"channel_fd": 3, "sockets_fd": 4, "spool_dir": tmp_path, "version": __version__}


def test_a_worker_process_imports_nothing_of_the_console() -> None:
    script = (
        "import sys\nfrom app.cli import run\n"
        "try:\n    run(['worker', '--channel-fd', '9998', '--sockets-fd', '9999', '--spool-dir', 'nowhere'])\n"
        "except (OSError, SystemExit): pass\n"
        "heavy = {'litestar', 'sqlalchemy', 'alembic', 'jinja2', 'uvicorn', 'argon2'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr


def test_check_accepts_a_shipped_pack_and_names_what_is_wrong_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"pack": "broken", "rules": []}))
    shipped = sorted((ROOT / "rules" / "packs").glob("*.json"))
    if shipped:
        assert cli.run(["check", str(shipped[0])]) == 0
        assert "all examples hold" in capsys.readouterr().out
    assert cli.run(["check", str(broken), str(tmp_path / "missing.json")]) == 1
    told = capsys.readouterr().err
    assert f"{broken}#" in told
    assert "missing.json: No such file or directory" in told
