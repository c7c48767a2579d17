"""Settings encrypted with SOPS are decrypted, merged into the stack file and never shown."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from settings.load import load
from settings.problems import SettingsError
from tests.settings.test_fixtures import TOKEN, engine_map, reference

AGE_KEY = (
    (Path(__file__).parents[2] / "examples" / "manifests" / "example.agekey")
    .read_text(encoding="utf-8")
    .splitlines()[-1]
)
FAKE = """#!{python}
import json, os, pathlib, sys
pathlib.Path({log!r}).write_text(json.dumps([sys.argv[1:], os.environ.get("SOPS_AGE_KEY")]))
print({answer!r})
print({complaint!r}, file=sys.stderr)
sys.exit({code})
"""


class Sops:
    """A fake ``sops`` on PATH, and an encrypted file for it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "bin" / "sops", folder / "log"
        self.path.parent.mkdir()
        (folder / "Pulumi.homelab.sops.yaml").write_text("sops: {}")

    def answers(self, keys: Any, complaint: str = "", code: int = 0) -> None:
        """Let it print ``keys`` as JSON and ``complaint`` to stderr, and exit with ``code``."""
        text = FAKE.format(
            python=sys.executable,
            log=str(self.log),
            answer=json.dumps(keys),
            complaint=complaint,
            code=code,
        )
        self.path.write_text(text)
        self.path.chmod(0o755)


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logged warnings."""
    logged: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", logged.append)
    return logged


@pytest.fixture
def sops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sops:
    found = Sops(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{found.path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN", raising=False)
    monkeypatch.delenv("SOPS_AGE_KEY", raising=False)
    return found


def config(**groups: Any) -> dict[str, str]:
    """The configuration of Pulumi.homelab.yaml without a token, with these groups replaced."""
    found = reference() | {f"ephemeral-castle:{name}": value for name, value in groups.items()}
    del found["proxmoxve:apiToken"]
    return engine_map(found)


def problems(given: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(given, "homelab")
    assert "5eed1e55" not in str(raised.value)
    return [str(problem) for problem in raised.value.problems]


FLUX = {"url": "https://git.tazlab.net/me/manifests.git"}


def test_encrypted_settings_are_loaded(sops: Sops, warnings: list[str]) -> None:
    sops.answers({"proxmoxve:apiToken": TOKEN, "flux": {"token": "5eed1e55"}})
    found = load(config(flux=FLUX, sops={"age_key": AGE_KEY}), "homelab")
    assert found.proxmoxve.api_token.get_secret_value() == TOKEN
    assert found.flux and found.flux.token
    assert found.flux.token.get_secret_value() == "5eed1e55"
    assert found.flux.url == FLUX["url"]
    # Only the age key of this test is in plain text.
    assert [it for it in warnings if "plain text" in it and "sops.age_key" not in it] == []


def test_sops_gets_the_age_key_in_its_environment_and_not_as_an_argument(sops: Sops) -> None:
    sops.answers({"proxmoxve:apiToken": TOKEN})
    load(config(sops={"age_key": AGE_KEY}), "homelab")
    arguments, key = json.loads(sops.log.read_text())
    assert key == AGE_KEY and AGE_KEY not in arguments


def test_without_an_age_key_sops_uses_its_own_keys(sops: Sops) -> None:
    sops.answers({"proxmoxve:apiToken": TOKEN})
    load(config(), "homelab")
    assert json.loads(sops.log.read_text())[1] is None


def test_a_setting_in_both_files_is_refused(sops: Sops) -> None:
    sops.answers({"proxmoxve:apiToken": TOKEN, "flux": {"token": "5eed1e55"}})
    (problem,) = problems(config(flux=FLUX | {"token": "5eed1e55"}))
    assert problem.startswith(
        "flux.token = (hidden)\n    is in the stack file and in the encrypted file"
    )


def test_the_age_key_is_refused_in_the_encrypted_file(sops: Sops) -> None:
    sops.answers({"proxmoxve:apiToken": TOKEN, "ephemeral-castle:sops": {"age_key": "5eed1e55"}})
    (problem,) = problems(config())
    assert problem.startswith("sops = encrypted\n    is the key that decrypts this file")


def test_an_invalid_encrypted_value_is_not_shown(sops: Sops) -> None:
    sops.answers({"proxmoxve:apiToken": TOKEN, "whoami": {"host": "5eed1e55 is no host"}})
    given = config()
    del given["ephemeral-castle:whoami"]
    (problem,) = problems(given)
    assert problem.startswith("whoami.host = (hidden)\n")


def test_a_file_that_sops_cannot_decrypt_is_refused_with_the_output_of_sops(sops: Sops) -> None:
    sops.answers(None, complaint="no key could\ndecrypt the data", code=128)
    (problem,) = problems(config())
    assert problem.startswith(
        "Pulumi.homelab.sops.yaml = unreadable\n"
        "    `sops` cannot decrypt it: no key could decrypt the data\n    -> encrypt it for"
    )


def test_a_missing_sops_is_reported(sops: Sops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (problem,) = problems(config())
    assert "needs `sops`, which is not on PATH" in problem


def test_without_an_encrypted_file_sops_is_not_run(sops: Sops) -> None:
    Path("Pulumi.homelab.sops.yaml").unlink()
    load(config() | {"proxmoxve:apiToken": TOKEN}, "homelab")
    assert not sops.log.exists()
