"""The example of a manifests' repository opens with the real sops and age, and so does ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest
import yaml

from settings.project import PROJECT_FOLDER

MISSING = [name for name in ("sops", "age", "age-keygen") if shutil.which(name) is None]
EXAMPLE = PROJECT_FOLDER / "examples" / "manifests"
SECRET = Path("apps/hello/secret.sops.yaml")
VALUE = "the castle's own secret name"

needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}")


def run(*command: str, text: str = "", key: str = "", folder: Path = EXAMPLE) -> str:
    """What a tool prints; it sees no key but this one."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=text,
        env=os.environ | {"SOPS_AGE_KEY": key, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def example_key() -> str:
    return (EXAMPLE / "example.agekey").read_text(encoding="utf-8").splitlines()[-1]


def recipient() -> str:
    rules = yaml.safe_load((EXAMPLE / ".sops.yaml").read_text(encoding="utf-8"))
    return str(rules["creation_rules"][0]["age"])


def test_the_example_is_encrypted_for_its_own_key_alone() -> None:
    secret = yaml.safe_load((EXAMPLE / SECRET).read_text(encoding="utf-8"))
    assert [it["recipient"] for it in secret["sops"]["age"]] == [recipient()]
    assert str(pyrage.x25519.Identity.from_str(example_key()).to_public()) == recipient()
    assert secret["metadata"]["name"] == "hello"
    assert secret["stringData"]["name"].startswith("ENC[")


@needs_tools
def test_the_real_sops_opens_the_example() -> None:
    opened = yaml.safe_load(run("sops", "decrypt", str(SECRET), key=example_key()))
    assert opened["stringData"] == {"name": VALUE}
    assert "sops" not in opened


@needs_tools
def test_another_key_does_not_open_it() -> None:
    other = str(pyrage.x25519.Identity.generate())
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run("sops", "decrypt", str(SECRET), key=other)
    assert VALUE not in raised.value.stdout


@needs_tools
def test_a_key_of_ours_is_one_of_ages_and_sops_encrypts_for_it(tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    ours = str(identity.to_public())
    assert run("age-keygen", "-y", text=str(identity)).strip() == ours
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    plain = run("sops", "decrypt", str(SECRET), key=example_key())
    (tmp_path / SECRET).write_text(plain, encoding="utf-8")
    rules = tmp_path / ".sops.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace(recipient(), ours))
    run("sops", "encrypt", "--in-place", str(SECRET), folder=tmp_path)
    assert VALUE not in (tmp_path / SECRET).read_text(encoding="utf-8")
    opened = run("sops", "decrypt", str(SECRET), key=str(identity), folder=tmp_path)
    assert yaml.safe_load(opened)["stringData"] == {"name": VALUE}
