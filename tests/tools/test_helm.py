"""`helm template` with the real charts takes our values.

The charts are found in the folder that CASTLE_CHARTS names: one sub-folder for each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.components.charts import all_values

HELM = shutil.which("helm")
CHARTS = Path(os.environ.get("CASTLE_CHARTS", "/nonexistent"))

pytestmark = [
    pytest.mark.skipif(HELM is None, reason="helm is not on PATH"),
    pytest.mark.skipif(not CHARTS.is_dir(), reason="CASTLE_CHARTS names no folder of charts"),
]


@pytest.mark.parametrize("chart", ["longhorn-1.12.1", "metallb-0.16.1", "traefik-41.3.0"])
def test_the_chart_renders(chart: str, tmp_path: Path) -> None:
    name, _, version = chart.partition("-")
    metadata = yaml.safe_load((CHARTS / name / "Chart.yaml").read_text(encoding="utf-8"))
    assert metadata["version"] == version
    for number, values in enumerate(all_values(chart)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        done = subprocess.run(
            [str(HELM), "template", name, CHARTS / name, "--kube-version", "1.36.3", "-f", file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        kinds = {document["kind"] for document in yaml.safe_load_all(done.stdout) if document}
        assert kinds & {"Deployment", "DaemonSet"}
