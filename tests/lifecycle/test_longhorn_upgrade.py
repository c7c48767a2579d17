"""The hook that checks an upgrade of Longhorn."""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi
import pytest

from clients.kubernetes.api import KubernetesError
from lifecycle.longhorn_upgrade import upgrade_check
from tests.lifecycle.fake_longhorn import ENGINE, OLD_ENGINE, FakeLonghorn

CLAIM = "media/library"


class Hook:
    """A hook that the test calls itself, in place of Pulumi."""

    def __init__(self, name: str, func: Any, opts: pulumi.ResourceHookOptions) -> None:
        self.func, self.opts = func, opts


@pytest.fixture
def longhorn(monkeypatch: pytest.MonkeyPatch) -> FakeLonghorn:
    """A fake Longhorn with one volume."""
    fake = FakeLonghorn().install(monkeypatch)
    fake.add_volume(CLAIM, 2, "worker-1", "worker-2")
    return fake


def upgrade(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, *, preview: bool = False
) -> list[str]:
    """Run the hook as Pulumi does; returns the warnings."""
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "ResourceHook", Hook)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    args = pulumi.ResourceHookArgs(
        urn="",
        id="",
        name="",
        type="",
        old_inputs={"version": old},
        new_inputs={"version": new},
    )

    async def run() -> None:
        binding = upgrade_check("kubeconfig")
        (hook,) = binding.before_update or []
        assert isinstance(hook, Hook) and hook.opts.on_dry_run is True
        await hook.func(args)

    asyncio.run(run())
    return warnings


@pytest.mark.parametrize("new", ["1.12.1", "1.12.2", "1.13.0"])
def test_an_upgrade_is_allowed_if_all_volumes_run_the_current_engine(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    assert upgrade(monkeypatch, "1.12.1", new) == []


def test_a_minor_upgrade_is_refused_and_names_volumes_with_an_old_engine(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    longhorn.add_volume("media/films", 2, "worker-1", engine=OLD_ENGINE)
    with pytest.raises(RuntimeError) as raised:
        upgrade(monkeypatch, "1.12.1", "1.13.0")
    message = str(raised.value)
    assert f"an old engine: media/films ({OLD_ENGINE})." in message
    assert CLAIM not in message
    assert f"Upgrade the volumes to {ENGINE}" in message
    assert "Longhorn has not been changed" in message
    assert longhorn.merged == []


def test_a_patch_upgrade_needs_no_check_of_engines(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    longhorn.error = KubernetesError("GET /", "https://vip:6443", "this test allows no request")
    assert upgrade(monkeypatch, "1.12.1", "1.12.2") == []


@pytest.mark.parametrize(
    ("new", "words"), [("1.11.9", "cannot be downgraded"), ("1.14.0", "write the newest 1.13.x")]
)
def test_a_downgrade_and_a_skipped_minor_version_are_refused(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch, new: str, words: str
) -> None:
    with pytest.raises(RuntimeError, match=words):
        upgrade(monkeypatch, "1.12.1", new)


def test_a_cluster_that_does_not_answer_stops_an_up_but_not_a_preview(
    longhorn: FakeLonghorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    longhorn.error = KubernetesError("GET /", "https://vip:6443", "no answer in time")
    (warning,) = upgrade(monkeypatch, "1.12.1", "1.13.0", preview=True)
    assert "does not answer: no answer in time" in warning
    with pytest.raises(RuntimeError, match="Longhorn has not been changed"):
        upgrade(monkeypatch, "1.12.1", "1.13.0")


def test_an_upgrade_without_volumes_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeLonghorn().install(monkeypatch)
    assert upgrade(monkeypatch, "1.12.1", "1.13.0") == []
