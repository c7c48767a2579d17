"""``make rack``: what it says where it cannot start."""

from __future__ import annotations

import pytest

from tests.e2e import try_rack


def test_without_its_tools_it_says_which_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(try_rack, "missing", lambda: "not found: etcd")
    assert try_rack.main() == 1
    assert "not found: etcd. See tests/e2e/README.md" in capsys.readouterr().err
    assert not try_rack.STACK_FILE.exists()
