"""The engine's own answer about its state: undocumented, so this test holds what it returns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

NEEDED = ("pulumi", "pulumi-language-python", "pulumi-resource-pulumi-python")
ABSENT = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"not found: {', '.join(ABSENT)}")

SECRET = "a-secret-that-nobody-may-print"
PROGRAM = """
import json, os, time
import pulumi
from pulumi import dynamic
from preflight import state

begin = time.monotonic()
stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
answer = pulumi.runtime.invoke(state.INVOKE, {"stackName": stack}).value
took = time.monotonic() - begin
outputs = answer["outputs"].values()
values = [it["outputs"].get("secret") for it in outputs]
with open(os.environ["SEEN"], "w") as seen:
    types = sorted(it["type"].rpartition(":")[2] for it in outputs)
    x = [it["outputs"].get("x") for it in outputs if it["type"].endswith(":Last")]
    plain = os.environ["SECRET"] in values
    json.dump({"types": types, "x": x, "plain": plain, "took": took}, seen)
assert not state.read_running_stack().has_come_up


class Provider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props):
        if props.get("fail"):
            raise Exception("this one fails")
        return dynamic.CreateResult("id", {k: v for k, v in props.items() if k != "__provider"})

    def update(self, id, olds, news):
        return dynamic.UpdateResult(self.create(news).outs)


class First(dynamic.Resource, module="test", name="First"):
    pass


class Last(dynamic.Resource, module="test", name="Last"):
    pass


first = First(Provider(), "first", {"secret": pulumi.Output.secret(os.environ["SECRET"])})
after = pulumi.ResourceOptions(depends_on=[first])
Last(Provider(), "last", {"x": os.environ["X"], "fail": bool(os.environ.get("FAIL"))}, after)
"""


class Stack:
    """A project with one stack and a backend of files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, ""
        project = {
            "name": "read-state",
            "runtime": {
                "name": "python",
                "options": {"toolchain": "pip", "virtualenv": sys.prefix},
            },
        }
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        (folder / "__main__.py").write_text(PROGRAM)
        (folder / "state").mkdir()
        self.run("stack", "init", "test")

    def run(self, *words: str, **more: str) -> int:
        environment = os.environ | {
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DEBUG_COMMANDS": "true",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SEEN": str(self.folder / "seen.json"),
            "SECRET": SECRET,
            "X": "1",
        }
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.said += done.stdout + done.stderr
        return done.returncode

    @property
    def seen(self) -> dict[str, Any]:
        """What the program read at its last start."""
        found: dict[str, Any] = json.loads((self.folder / "seen.json").read_text())
        return found


def test_the_engine_returns_the_state_before_the_run_and_logs_nothing(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    log = tmp_path / "events.json"
    flags = ("--yes", "--skip-preview", "--event-log", str(log))
    assert stack.run("preview") == 0, stack.said
    assert stack.seen["types"] == []
    assert stack.run("up", *flags, FAIL="yes") != 0
    # Its own stack and a provider may be registered already; nothing else.
    assert not {"First", "Last"} & set(stack.seen["types"])
    assert stack.run("up", *flags) == 0, stack.said
    assert "First" in stack.seen["types"] and "Last" not in stack.seen["types"]
    assert stack.seen["plain"], "secrets come in plain text: whoever reads them must drop them"
    assert stack.run("preview", X="2") == 0, stack.said
    assert stack.seen["x"] == ["1"]
    assert stack.run("up", *flags, X="2", FAIL="yes") != 0
    assert stack.run("preview", X="3") == 0, stack.said
    assert stack.seen["x"] == ["1"], "a failed update keeps the old outputs"
    assert stack.seen["took"] < 5
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert log in written
    assert SECRET not in stack.said
    assert [file for file in written if SECRET.encode() in file.read_bytes()] == []
