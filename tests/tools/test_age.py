"""What is kept of certificates opens with the real age, and with its own key alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest

from backup.store import FolderStore
from components.traefik import certificate_backup

CONTENT = b'{"letsencrypt": {}}\n'


@pytest.mark.skipif(shutil.which("age") is None, reason="age is not on PATH")
def test_a_backup_is_opened_by_hand_with_its_key_alone(tmp_path: Path) -> None:
    keys = [str(pyrage.x25519.Identity.generate()) for _ in range(2)]
    FolderStore(tmp_path).write("a.age", certificate_backup.seal(CONTENT, keys[0]))

    def opened(key: str) -> subprocess.CompletedProcess[bytes]:
        command = ["age", "-d", "-i", "-", str(tmp_path / "a.age")]
        return subprocess.run(command, input=key.encode(), capture_output=True, check=False)

    assert opened(keys[0]).stdout == CONTENT
    refused = opened(keys[1])
    assert refused.returncode != 0 and refused.stdout == b""
