"""``python -m doctor`` and the look before ``up``: what is printed, where, and the exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from pathlib import Path

import pyrage
import pytest
import yaml
from rich.console import Console

from clients.pulumi_cli.session import CONFIG
from doctor import __main__ as command
from doctor.examine import Examined
from doctor.findings import failure, note, ok, warning
from doctor.probes import Probes, cli_version
from doctor.show import as_json, show
from settings.load import TOKEN
from settings.models import Settings
from tests.doctor.house import FakeHomelab

FOUND = [
    Examined("Proxmox", "API", (ok("pve", "answers"),)),
    Examined("Proxmox", "hosts", (failure("pve2", "is offline", "start it"),)),
    Examined("Network", "DHCP", (note("network.dhcp", "is yours to compare"),)),
    Examined("Network", "DNS", (warning("a.b", "has no [address]", "make one"),)),
]


def drawn(examined: list[Examined], *, brief: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False, markup=False)
    show(examined, console, brief=brief)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_the_lines_are_grouped_each_with_its_cure() -> None:
    assert drawn(FOUND) == (
        "Proxmox\n"
        "  ok       pve answers\n"
        "  failure  pve2 is offline\n"
        "           -> start it\n"
        "Network\n"
        "  note     network.dhcp is yours to compare\n"
        "  warning  a.b has no [address]\n"
        "           -> make one\n"
        "1 failure, 1 warning, 1 ok, 1 note"
    )


def test_before_an_up_only_what_has_to_be_done_is_told() -> None:
    assert drawn(FOUND, brief=True) == (
        "Proxmox\n"
        "  failure  pve2 is offline\n"
        "           -> start it\n"
        "Network\n"
        "  warning  a.b has no [address]\n"
        "           -> make one\n"
        "1 failure, 1 warning, 1 ok, 1 note"
    )


def test_json_holds_the_same() -> None:
    told = as_json("homelab", FOUND)
    assert (told["stack"], told["result"]) == ("homelab", "failure")
    assert told["findings"][1] == {
        "group": "Proxmox",
        "check": "hosts",
        "result": "failure",
        "subject": "pve2",
        "text": "is offline",
        "fix": "start it",
    }
    assert len(told["findings"]) == 4


@pytest.fixture
def folder(house: FakeHomelab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack file of the house, whose token the environment holds."""
    monkeypatch.setattr(command, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(Probes, "of", lambda settings, cli: house.probes())
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", house.rack.api_token)
    write(tmp_path, house, token=None)
    return tmp_path


def write(folder: Path, house: FakeHomelab, token: object) -> None:
    config = {key: value for key, value in house.config.items() if key != TOKEN}
    if token is not None:
        config[TOKEN] = token
    text = yaml.safe_dump({"config": config, "encryptionsalt": "v1:salt"})
    (folder / "Pulumi.homelab.yaml").write_text(text, encoding="utf-8")


def token_in_config(token: str) -> str:
    """What the CLI prints of a stack that is configured with a token alone."""
    return json.dumps({TOKEN: {"value": token, "secret": True}})


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(command.main, list(arguments))


@pytest.mark.usefixtures("folder")
async def test_a_sound_house_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--stack", "homelab") == 0
    out, err = capsys.readouterr()
    assert "ok       pve1 has room for 2 machines" in out
    assert err == ""


@pytest.mark.usefixtures("folder")
async def test_a_failure_is_one_in_json_too(
    house: FakeHomelab, capsys: pytest.CaptureFixture[str]
) -> None:
    house.rack.proxmox.cluster.node("pve2").online = False
    assert await run("--json") == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    (failed,) = [it for it in told["findings"] if it["result"] == "failure"]
    assert (failed["check"], failed["subject"]) == ("hosts", "pve2")
    assert err == ""


async def test_wrong_settings_are_two_in_their_own_words_and_nobody_is_asked(
    house: FakeHomelab, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house.set("cluster.vip", "10.0.0.1")
    write(folder, house, token={"secure": "v1:abc"})
    assert await run("--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "cluster.vip = 10.0.0.1" in err and "nothing has been touched" in err
    assert house.rack.requests == []


async def test_no_token_is_two(
    house: FakeHomelab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN")
    assert await run() == 2
    assert "proxmoxve:apiToken = missing" in capsys.readouterr().err


CLI = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    print(json.dumps([sys.argv[1:], os.environ.get("PULUMI_CONFIG_PASSPHRASE")]), file=log)
{then}
"""


def cli(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> Path:
    """A CLI of ours on PATH; returns its log."""
    log = folder / "log"
    file = folder / "pulumi"
    file.write_text(CLI.format(python=sys.executable, log=str(log), then=then))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.fixture
def opened(house: FakeHomelab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the doctor looks with."""
    found: list[Settings] = []

    def probes(settings: Settings, cli: Path | None) -> Probes:
        found.append(settings)
        return house.probes()

    monkeypatch.setattr(Probes, "of", probes)
    return found


async def test_a_token_that_is_encrypted_is_opened_by_the_cli(
    house: FakeHomelab,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    opened: list[Settings],
) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "correct horse")
    log = cli(folder, monkeypatch, f"print({token_in_config(house.rack.api_token)!r})")
    write(folder, house, token={"secure": "v1:abc"})
    assert await run() == 0
    (settings,) = opened
    assert settings.proxmoxve.api_token.get_secret_value() == house.rack.api_token
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    words = [*CONFIG, "--stack", "homelab", "--non-interactive"]
    assert [it for it in asked if it[0][0] == "config"] == [[words, "correct horse"]]
    out, err = capsys.readouterr()
    assert house.rack.api_token.partition("=")[2] not in out + err


async def test_what_sops_keeps_is_opened_for_the_token_alone(
    house: FakeHomelab, folder: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Settings]
) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN")
    monkeypatch.chdir(folder)  # as `make` runs it
    age_key = str(pyrage.x25519.Identity.generate())
    house.set("sops.age_key", {"secure": "v1:abc"})
    write(folder, house, token=None)
    house.set("sops.age_key", age_key)
    (folder / "Pulumi.homelab.sops.yaml").write_text(
        f"{TOKEN}: ENC[AES256_GCM,data:x]\n"
        "traefik: {acme: {dns: {provider: x, credentials: {X_KEY: 'ENC[AES256_GCM,data:y]'}}}}\n"
        "sops: {}\n"
    )
    config = {"ephemeral-castle:sops": {"value": json.dumps({"age_key": age_key}), "secret": True}}
    log = cli(folder, monkeypatch, f"print({json.dumps(config)!r})")
    sops = folder / "sops"
    answer = {TOKEN: house.rack.api_token}
    sops.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"assert os.environ['SOPS_AGE_KEY'] == {age_key!r}\n"
        f"print({json.dumps(answer)!r})\n"
    )
    sops.chmod(0o755)
    assert await run() == 0
    (settings,) = opened
    assert settings.proxmoxve.api_token.get_secret_value() == house.rack.api_token
    assert settings.traefik.acme.dns
    asked = [json.loads(line)[0][:2] for line in log.read_text().splitlines()]
    assert [it for it in asked if it[0] == "config"] == [["config", "--json"]]


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("sys.exit('error: incorrect passphrase')", "cannot be decrypted: incorrect passphrase"),
        (f"print({token_in_config('nonsense')!r})", "is not an API token of Proxmox"),
    ],
)
async def test_a_token_that_cannot_be_opened_is_two(
    house: FakeHomelab,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    then: str,
    reason: str,
) -> None:
    cli(folder, monkeypatch, then)
    write(folder, house, token={"secure": "v1:abc"})
    assert await run() == 2
    err = capsys.readouterr().err
    assert reason in err and "make token" in err and "nonsense" not in err


async def test_without_a_cli_an_encrypted_token_is_two(
    house: FakeHomelab,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    write(folder, house, token={"secure": "v1:abc"})
    assert await run() == 2
    assert "make preview" in capsys.readouterr().err


def test_the_cli_tells_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(tmp_path, monkeypatch, "print('v3.259.0')")
    assert cli_version(tmp_path / "pulumi") == "v3.259.0"


def test_an_unknown_stack_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "homelap"]) == 2
    assert "did you mean homelab?" in capsys.readouterr().err


async def test_ctrl_c_ends_it_without_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object, **kwargs: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "visit", interrupt)
    assert await run() == 130
    assert capsys.readouterr().err == ""
