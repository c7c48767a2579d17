"""A preview by the real engine and the real providers, of a stack that lives on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from settings.project import PROJECT_FOLDER
from tests.e2e.lab import ENGINE
from tests.rehearsals import rehearsed_stack

MISSING = [name for name in ENGINE if shutil.which(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}")

CLOSED = "https://127.0.0.1:1"
"""Nobody listens there: whatever tried to reach Proxmox would be refused by this machine."""


def on_loopback(stack: str, folder: Path) -> None:
    """Copy the program and a stack of it, with every address on 127.0.0.0/8."""
    ignored = shutil.ignore_patterns(".*", "tests", "__pycache__")
    shutil.copytree(PROJECT_FOLDER, folder, ignore=ignored)
    file = folder / f"Pulumi.{stack}.yaml"
    text = file.read_text(encoding="utf-8").replace("192.168.1.", "127.0.10.")
    document = yaml.safe_load(text)
    document["config"]["proxmoxve:endpoint"] = CLOSED
    document["config"]["ephemeral-castle:image"] = {"factory": CLOSED}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    project = yaml.safe_load((folder / "Pulumi.yaml").read_text(encoding="utf-8"))
    # This very environment, not one of its own.
    project["runtime"]["options"] = {"virtualenv": str(Path(sys.prefix)), "toolchain": "pip"}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")


@pytest.mark.parametrize("stack", ["homelab", "ha"])
def test_the_engine_plans_everything_that_the_rehearsal_does(stack: str, tmp_path: Path) -> None:
    folder = tmp_path / "castle"
    on_loopback(stack, folder)
    (tmp_path / "state").mkdir()
    environment = os.environ | {
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PROXMOX_VE_API_TOKEN": "test@pve!test=00000000-0000-0000-0000-000000000000",
        "TMPDIR": str(tmp_path),
    }

    def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", "--non-interactive", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    assert pulumi("stack", "init", stack).returncode == 0
    done = pulumi("preview", "--stack", stack, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert {step["op"] for step in steps} == {"create"}
    planned = {step["urn"] for step in steps}
    rehearsed = {resource.urn for resource in rehearsed_stack(stack).recording.resources}
    assert planned - rehearsed == {
        f"urn:pulumi:{stack}::ephemeral-castle::pulumi:pulumi:Stack::ephemeral-castle-{stack}"
    }
    assert rehearsed - planned == set()
    assert "has not checked the VM ids" in done.stdout
