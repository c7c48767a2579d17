"""``make age-key`` creates the age key once, and never shows the secret key."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml

from clients.pulumi_cli.session import Session
from commands import age_key

FAKE = """#!{python}
import json, os, pathlib, sys
given = sys.stdin.read()
pathlib.Path({log!r}).write_text(json.dumps([sys.argv[1:], given, dict(os.environ)]))
print({answer!r}, end="")
sys.exit({code})
"""


class Cli:
    """A fake Pulumi CLI that logs its call and prints a prepared answer."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "pulumi", folder / "log"

    def answers(self, answer: str = "", code: int = 0) -> None:
        self.path.write_text(
            FAKE.format(python=sys.executable, log=str(self.log), answer=answer, code=code)
        )
        self.path.chmod(0o755)

    @property
    def call(self) -> tuple[list[str], str, dict[str, str]]:
        arguments, given, environment = json.loads(self.log.read_text())
        return arguments, given, environment


@pytest.fixture
def fake(tmp_path: Path) -> Cli:
    found = Cli(tmp_path)
    found.answers()
    return found


def session(fake: Cli, config: dict[str, Any]) -> Session:
    """A session of a stack with these settings."""
    folder = fake.path.parent
    file = folder / "Pulumi.home.lab.yaml"
    file.write_text(yaml.safe_dump({"encryptionsalt": "v1:x", "config": config}))
    return Session(fake.path, "home.lab", folder, folder)


def test_a_new_secret_key_is_passed_to_the_cli_on_standard_input_only(
    fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    assert age_key.create_key(session(fake, {})) == 0
    arguments, given, environment = fake.call
    assert arguments[:4] == ["config", "set", "--secret", "--path"]
    assert arguments[4:7] == ["sops.age_key", "--stack", "home.lab"]
    recipient = pyrage.x25519.Identity.from_str(given).to_public()
    shown = capfd.readouterr()
    assert shown.out.splitlines()[-1] == str(recipient)
    assert "AGE-SECRET-KEY" not in f"{shown}{arguments}{environment}"


@pytest.mark.parametrize(
    "config",
    [
        {"ephemeral-castle:sops": {"age_key": {"secure": "v1:abc"}}},
        {"sops": {"age_key": "AGE-SECRET-KEY-1"}},
        {"ephemeral-castle:sops": {"secure": "v1:abc"}},
    ],
)
def test_an_existing_key_is_not_replaced(
    config: dict[str, Any], fake: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    identity = pyrage.x25519.Identity.generate()
    fake.answers(f"{identity}\n")
    assert age_key.create_key(session(fake, config)) == 0
    arguments, given, _ = fake.call
    assert arguments[:2] == ["config", "get"] and given == ""
    shown = capfd.readouterr().out
    assert "already has an age key; it was not changed" in shown
    assert shown.splitlines()[-1] == str(identity.to_public())
    assert str(identity) not in shown


def test_nothing_is_printed_if_the_cli_fails(fake: Cli, capfd: pytest.CaptureFixture[str]) -> None:
    fake.answers(code=255)
    assert age_key.create_key(session(fake, {})) == 255
    assert capfd.readouterr().out == ""
