"""Pulumi.homelab.yaml and docs/settings.md contain every settings key."""

from __future__ import annotations

import pytest

from settings.base import leaves
from settings.load import GROUPS, model_of
from settings.project import PROJECT_FOLDER

ALL_KEYS = sorted(
    {
        key
        for group, field in GROUPS.items()
        for path, _ in leaves(model_of(field), group)
        for key in path.split(".")
    }
    - {"NAME", "proxmoxve"}
)


@pytest.mark.parametrize("file", ["Pulumi.homelab.yaml", "docs/settings.md"])
def test_every_settings_key_is_documented(file: str) -> None:
    text = (PROJECT_FOLDER / file).read_text(encoding="utf-8")
    assert [key for key in ALL_KEYS if key not in text] == []


def test_readme_and_ci_name_the_command_for_all_tests() -> None:
    assert "make test" in (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "make test" in (PROJECT_FOLDER / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    """Details are in docs/."""
    assert len((PROJECT_FOLDER / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
