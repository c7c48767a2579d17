"""``make rack`` with the real tools, as a person uses it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.lab import LIMIT, missing
from tests.e2e.leftovers import Trial

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def test_what_it_says_brings_the_castle_up_and_ctrl_c_leaves_nothing() -> None:
    # Not pytest's own folder: its path is too long for the machines' sockets.
    with (
        tempfile.TemporaryDirectory() as folder,
        Trial(Path(folder), {"PULUMI_HOME": f"{folder}/home", "XDG_RUNTIME_DIR": ""}) as trial,
    ):
        guide = trial.start()
        exports = [line for line in guide if line.startswith("  export ")]
        up = f"{sys.executable} -m commands up --stack rack -- --yes --non-interactive"
        done = subprocess.run(
            ["bash", "-c", "".join(exports) + up],
            cwd=trial.program,
            env=trial.environment | {"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert any("kube-apiserver" in command for command in trial.processes())
        trial.end(signal.SIGINT)
        assert (trial.files(), trial.processes()) == ([], [])
