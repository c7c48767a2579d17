"""talosctl: the check of its version, its errors, and the handling of credentials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clients.errors import OperationError
from clients.talos.errors import TalosError
from clients.talos.talosctl import Talosctl, require
from clients.tls import ClientCredentials

CREDENTIALS = ClientCredentials(
    ca_certificate="Q0E=", client_certificate="Q1JU", client_key="U0VDUkVU"
)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path for a fake ``talosctl`` on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "talosctl"


def write(command: Path, script: str) -> None:
    command.write_text(f"#!{sys.executable}\nimport sys\n{script}\n", encoding="utf-8")
    command.chmod(0o700)


def test_a_missing_talosctl_is_an_error_with_the_fix(command: Path) -> None:
    with pytest.raises(OperationError, match=r"not on PATH\. Put talosctl v1\.13\.9 on PATH"):
        require("v1.13.9")


@pytest.mark.parametrize(("found", "wanted"), [("v1.12.9", "v1.12.4"), ("v1.13.9", "v1.14.0")])
def test_an_old_talosctl_is_refused(command: Path, found: str, wanted: str) -> None:
    write(command, f"print('Client:'); print('Talos {found}')")
    with pytest.raises(OperationError, match=f"is {found}, too old for Talos {wanted}"):
        require(wanted)


def test_a_talosctl_for_another_architecture_is_an_error(command: Path) -> None:
    command.write_bytes(b"\x7fELF for another")
    command.chmod(0o700)
    with pytest.raises(OperationError, match=r"talosctl does not run: Exec format error\. Put "):
        require("v1.13.9")
    with pytest.raises(TalosError, match="talosctl does not run: Exec format error"):
        Talosctl(CREDENTIALS).run("10.0.0.1", "version")


def test_a_talosctl_that_times_out_is_an_error(
    command: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("talosctl", 60)

    write(command, "")
    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(OperationError, match="did not print its version within 60 s"):
        require("v1.13.9")


def test_a_newer_talosctl_is_accepted(command: Path) -> None:
    write(command, "print('Talos v1.14.2')")
    require("v1.13.9")


def test_credentials_are_in_a_file_and_not_in_the_arguments(command: Path) -> None:
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


def test_the_error_ends_with_the_error_of_talosctl(command: Path) -> None:
    write(command, "sys.exit('first\\nrpc error: etcd is not running')")
    with pytest.raises(TalosError) as raised:
        Talosctl(CREDENTIALS).run("10.0.0.1", "etcd", "status")
    assert str(raised.value) == "`talosctl etcd status` on 10.0.0.1: rpc error: etcd is not running"


def test_a_failed_connection_is_tried_again(
    command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.talos.talosctl.PAUSE_S", 0)
    write(
        command,
        f"tries = open({str(tmp_path / 'tries')!r}, 'a+')\n"
        "tries.seek(0); before = tries.read(); tries.write('x')\n"
        "len(before) < 2 and sys.exit('rpc error: code = Unavailable desc = connection error')\n"
        "print('success')",
    )
    assert Talosctl(CREDENTIALS).run("10.0.0.1", "version") == "success\n"
