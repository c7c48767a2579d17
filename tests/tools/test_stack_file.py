"""The real engine reads plain values of a stack file as the rehearsal does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.settings.test_stack_file import NO_NUMBERS, PLAIN

pytestmark = pytest.mark.skipif(shutil.which("pulumi") is None, reason="pulumi is not on PATH")


def config(folder: Path, *values: str) -> subprocess.CompletedProcess[str]:
    """What the engine makes of a stack file with these values."""
    (folder / "Pulumi.yaml").write_text("{name: plain, runtime: python}", encoding="utf-8")
    (folder / "state").mkdir(exist_ok=True)
    environment = os.environ | {
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "plain",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", "--non-interactive", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    assert pulumi("stack", "init", "test").returncode == 0
    lines = [f"  plain:v{number}:\n    value: {value}\n" for number, value in enumerate(values)]
    (folder / "Pulumi.test.yaml").write_text("config:\n" + "".join(lines), encoding="utf-8")
    return pulumi("config", "--json", "--stack", "test")


def test_plain_values_are_the_same_to_the_engine(tmp_path: Path) -> None:
    done = config(tmp_path, *PLAIN)
    assert done.returncode == 0, done.stderr
    found = {key: json.loads(it["value"])["value"] for key, it in json.loads(done.stdout).items()}
    assert found == {f"plain:v{number}": value for number, value in enumerate(PLAIN.values())}


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_refused_by_the_engine_too(tmp_path: Path, value: str) -> None:
    done = config(tmp_path, value)
    assert done.returncode != 0
    assert "unsupported value" in done.stderr
