"""talosctl: found and checked beforehand, and its credentials seen by nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clients.talos.talosctl import Talosctl, TalosctlError, require

CREDENTIALS = {"ca_certificate": "Q0E=", "client_certificate": "Q1JU", "client_key": "U0VDUkVU"}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``talosctl`` on PATH, to be written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "talosctl"


def write(command: Path, script: str) -> None:
    command.write_text(f"#!{sys.executable}\nimport sys\n{script}\n", encoding="utf-8")
    command.chmod(0o700)


def test_a_missing_talosctl_is_named_with_the_cure(command: Path) -> None:
    with pytest.raises(TalosctlError, match=r"not on PATH\. Put talosctl v1\.13\.9 on PATH"):
        require("v1.13.9")


@pytest.mark.parametrize(("found", "wanted"), [("v1.12.9", "v1.12.4"), ("v1.13.9", "v1.14.0")])
def test_an_old_talosctl_is_refused(command: Path, found: str, wanted: str) -> None:
    write(command, f"print('Client:'); print('Talos {found}')")
    with pytest.raises(TalosctlError, match=f"is {found}, too old for Talos {wanted}"):
        require(wanted)


def test_a_talosctl_of_another_kind_of_processor_is_told(command: Path) -> None:
    command.write_bytes(b"\x7fELF for another")
    command.chmod(0o700)
    with pytest.raises(TalosctlError, match=r"talosctl does not run: Exec format error\. Put "):
        require("v1.13.9")
    with pytest.raises(TalosctlError, match="talosctl does not run: Exec format error"):
        Talosctl(CREDENTIALS).run("10.0.0.1", "version")


def test_a_talosctl_that_does_not_end_is_told(
    command: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("talosctl", 60)

    write(command, "")
    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(TalosctlError, match="does not tell its version within 60 s"):
        require("v1.13.9")


def test_a_newer_talosctl_is_taken(command: Path) -> None:
    write(command, "print('Talos v1.14.2')")
    require("v1.13.9")


def test_credentials_are_read_as_often_as_wanted_and_never_shown(command: Path) -> None:
    write(
        command,
        "path = sys.argv[sys.argv.index('--talosconfig') + 1]\n"
        "assert open(path).read() == open(path).read()\n"
        "assert 'U0VDUkVU' in open(path).read()\n"
        "print(sys.argv[1:])",
    )
    shown = Talosctl(CREDENTIALS).run("10.0.0.1", "etcd", "status")
    assert "'etcd', 'status', '-e', '10.0.0.1', '-n', '10.0.0.1'" in shown
    assert "U0VDUkVU" not in shown


def test_a_refusal_ends_with_talosctls_own_words(command: Path) -> None:
    write(command, "sys.exit('first\\nrpc error: etcd is not running')")
    with pytest.raises(TalosctlError) as raised:
        Talosctl(CREDENTIALS).run("10.0.0.1", "etcd", "status")
    assert str(raised.value) == "`talosctl etcd status` on 10.0.0.1: rpc error: etcd is not running"


def test_a_connection_that_did_not_come_about_is_tried_again(
    command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.talos.talosctl.PAUSE", 0)
    write(
        command,
        f"tries = open({str(tmp_path / 'tries')!r}, 'a+')\n"
        "tries.seek(0); before = tries.read(); tries.write('x')\n"
        "len(before) < 2 and sys.exit('rpc error: code = Unavailable desc = connection error')\n"
        "print('well')",
    )
    assert Talosctl(CREDENTIALS).run("10.0.0.1", "version") == "well\n"
