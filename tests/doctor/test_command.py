"""``python -m doctor``: its output and its exit codes."""

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
from doctor.all_checks import CheckFindings
from doctor.findings import failure, note, ok, warning
from doctor.output import as_json, show
from doctor.probes import Probes, cli_version
from settings.load import TOKEN
from settings.models import Settings
from tests.doctor.homelab import FakeHomelab

FOUND = [
    CheckFindings("Proxmox", "API", (ok("pve", "answers"),)),
    CheckFindings("Proxmox", "hosts", (failure("pve2", "is offline", "start it"),)),
    CheckFindings("Network", "gateway", (note("gateway", "is in another network"),)),
    CheckFindings("Network", "DNS", (warning("a.b", "has no [address]", "make one"),)),
]


def printed(checks: list[CheckFindings], *, brief: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False, markup=False)
    show(checks, console, brief=brief)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_findings_are_printed_by_group_with_their_fixes() -> None:
    assert printed(FOUND) == (
        "Proxmox\n"
        "  ok       pve answers\n"
        "  failure  pve2 is offline\n"
        "           -> start it\n"
        "Network\n"
        "  note     gateway is in another network\n"
        "  warning  a.b has no [address]\n"
        "           -> make one\n"
        "1 failure, 1 warning, 1 ok, 1 note"
    )


def test_brief_output_has_only_warnings_and_failures() -> None:
    assert printed(FOUND, brief=True) == (
        "Proxmox\n"
        "  failure  pve2 is offline\n"
        "           -> start it\n"
        "Network\n"
        "  warning  a.b has no [address]\n"
        "           -> make one\n"
        "1 failure, 1 warning, 1 ok, 1 note"
    )


def test_json_has_all_findings_and_the_worst_result() -> None:
    output = as_json("homelab", FOUND)
    assert (output["stack"], output["result"]) == ("homelab", "failure")
    assert output["findings"][1] == {
        "group": "Proxmox",
        "check": "hosts",
        "result": "failure",
        "subject": "pve2",
        "text": "is offline",
        "fix": "start it",
    }
    assert len(output["findings"]) == 4


@pytest.fixture
def folder(homelab: FakeHomelab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with the homelab's stack file; an environment variable has the token."""
    monkeypatch.setattr(command, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(Probes, "of", lambda settings, cli: homelab.probes())
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", homelab.rack.api_token)
    write(tmp_path, homelab, token=None)
    return tmp_path


def write(folder: Path, homelab: FakeHomelab, token: object) -> None:
    config = {key: value for key, value in homelab.config.items() if key != TOKEN}
    if token is not None:
        config[TOKEN] = token
    text = yaml.safe_dump({"config": config, "encryptionsalt": "v1:salt"})
    (folder / "Pulumi.homelab.yaml").write_text(text, encoding="utf-8")


def token_in_config(token: str) -> str:
    """The output of ``pulumi config`` if the token is the only key."""
    return json.dumps({TOKEN: {"value": token, "secret": True}})


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(command.main, list(arguments))


@pytest.mark.usefixtures("folder")
async def test_exit_code_is_0_without_failures(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--stack", "homelab") == 0
    out, err = capsys.readouterr()
    assert "ok       pve1 has room for 2 VMs of the stack" in out
    assert err == ""


@pytest.mark.usefixtures("folder")
async def test_exit_code_is_1_with_a_failure_also_with_json(
    homelab: FakeHomelab, capsys: pytest.CaptureFixture[str]
) -> None:
    homelab.rack.proxmox.cluster.node("pve2").online = False
    assert await run("--json") == 1
    out, err = capsys.readouterr()
    (failed,) = [it for it in json.loads(out)["findings"] if it["result"] == "failure"]
    assert (failed["check"], failed["subject"]) == ("hosts", "pve2")
    assert err == ""


async def test_exit_code_is_2_with_wrong_settings_before_any_request(
    homelab: FakeHomelab, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homelab.set("cluster.vip", "10.0.0.1")
    write(folder, homelab, token={"secure": "v1:abc"})
    assert await run("--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "cluster.vip = 10.0.0.1" in err and "nothing has been touched" in err
    assert homelab.rack.requests == []


async def test_exit_code_is_2_without_a_token(
    homelab: FakeHomelab,
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
    """Put a fake Pulumi CLI on PATH; return the path of its log."""
    log = folder / "log"
    file = folder / "pulumi"
    file.write_text(CLI.format(python=sys.executable, log=str(log), then=then))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.fixture
def opened(homelab: FakeHomelab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings for which the doctor creates its probes."""
    found: list[Settings] = []

    def probes(settings: Settings, cli: Path | None) -> Probes:
        found.append(settings)
        return homelab.probes()

    monkeypatch.setattr(Probes, "of", probes)
    return found


async def test_the_pulumi_cli_decrypts_the_token(
    homelab: FakeHomelab,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    opened: list[Settings],
) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "correct horse")
    log = cli(folder, monkeypatch, f"print({token_in_config(homelab.rack.api_token)!r})")
    write(folder, homelab, token={"secure": "v1:abc"})
    assert await run() == 0
    (settings,) = opened
    assert settings.proxmoxve.api_token.get_secret_value() == homelab.rack.api_token
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    words = [*CONFIG, "--stack", "homelab", "--non-interactive"]
    assert [it for it in asked if it[0][0] == "config"] == [[words, "correct horse"]]
    out, err = capsys.readouterr()
    assert homelab.rack.api_token.partition("=")[2] not in out + err


async def test_sops_decrypts_the_token_and_no_other_secret(
    homelab: FakeHomelab, folder: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Settings]
) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN")
    monkeypatch.chdir(folder)  # as `make` runs it
    age_key = str(pyrage.x25519.Identity.generate())
    homelab.set("sops.age_key", {"secure": "v1:abc"})
    write(folder, homelab, token=None)
    homelab.set("sops.age_key", age_key)
    (folder / "Pulumi.homelab.sops.yaml").write_text(
        f"{TOKEN}: ENC[AES256_GCM,data:x]\n"
        "traefik: {acme: {dns: {provider: x, credentials: {X_KEY: 'ENC[AES256_GCM,data:y]'}}}}\n"
        "sops: {}\n"
    )
    config = {"ephemeral-castle:sops": {"value": json.dumps({"age_key": age_key}), "secret": True}}
    log = cli(folder, monkeypatch, f"print({json.dumps(config)!r})")
    sops = folder / "sops"
    answer = {TOKEN: homelab.rack.api_token}
    sops.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"assert os.environ['SOPS_AGE_KEY'] == {age_key!r}\n"
        f"print({json.dumps(answer)!r})\n"
    )
    sops.chmod(0o755)
    assert await run() == 0
    (settings,) = opened
    assert settings.proxmoxve.api_token.get_secret_value() == homelab.rack.api_token
    assert settings.traefik.acme.dns
    asked = [json.loads(line)[0][:2] for line in log.read_text().splitlines()]
    assert [it for it in asked if it[0] == "config"] == [["config", "--json"]]


@pytest.mark.parametrize(
    ("then", "reason", "fix"),
    [
        (
            "sys.exit('error: incorrect passphrase')",
            "cannot be decrypted: incorrect passphrase",
            "`make down` then takes the token from PROXMOX_VE_API_TOKEN",
        ),
        (f"print({token_in_config('nonsense')!r})", "is not a Proxmox API token", "`make token`"),
    ],
)
async def test_exit_code_is_2_if_the_token_cannot_be_decrypted(
    homelab: FakeHomelab,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    then: str,
    reason: str,
    fix: str,
) -> None:
    cli(folder, monkeypatch, then)
    write(folder, homelab, token={"secure": "v1:abc"})
    assert await run() == 2
    err = capsys.readouterr().err
    assert reason in err and fix in err and "nonsense" not in err


async def test_exit_code_is_2_if_an_encrypted_token_needs_a_missing_cli(
    homelab: FakeHomelab,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    write(folder, homelab, token={"secure": "v1:abc"})
    assert await run() == 2
    assert "make preview" in capsys.readouterr().err


def test_cli_version_reads_the_output_of_the_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli(tmp_path, monkeypatch, "print('v3.259.0')")
    assert cli_version(tmp_path / "pulumi") == "v3.259.0"


def test_exit_code_is_2_for_an_unknown_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "homelap"]) == 2
    assert "did you mean homelab?" in capsys.readouterr().err


async def test_ctrl_c_prints_no_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object, **kwargs: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_checks", interrupt)
    assert await run() == 130
    assert capsys.readouterr().err == ""
