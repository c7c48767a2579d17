"""Stack files are read like Pulumi reads them; an error names the line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from settings import stack_file
from settings.load import TOKEN
from settings.problems import Problem, SettingsError
from settings.project import PROJECT_FOLDER


def read(folder: Path, text: str) -> stack_file.StackFile:
    """Write and read a stack file with this text."""
    (folder / "Pulumi.test.yaml").write_text(text, encoding="utf-8")
    return stack_file.read("test", folder)


def refused(folder: Path, text: str) -> Problem:
    """The only problem of a stack file with this text."""
    with pytest.raises(SettingsError) as raised:
        read(folder, text)
    (problem,) = raised.value.problems
    return problem


def test_values_have_the_form_that_pulumi_passes(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        config:
          a:text: plain
          a:number: 3
          a:bool: true
          a:group: {list: [1, two], nested: {deep: null}}
        """,
    ).config
    assert found["a:text"] == "plain"
    assert found["a:number"] == "3"
    assert found["a:bool"] == "true"
    assert json.loads(found["a:group"]) == {"list": [1, "two"], "nested": {"deep": None}}


@pytest.mark.parametrize("stack", ["homelab", "ha"])
def test_the_stack_files_of_the_repository_can_be_read(stack: str) -> None:
    assert "ephemeral-castle:network" in stack_file.read(stack, PROJECT_FOLDER).config


def test_a_missing_token_gets_a_placeholder(tmp_path: Path) -> None:
    found = read(tmp_path, "config: {}")
    assert found.config == {TOKEN: stack_file.PLACEHOLDER_TOKEN}
    assert found.secret_keys == [TOKEN]


def test_every_encrypted_value_gets_a_placeholder(tmp_path: Path) -> None:
    text = "config: {proxmoxve:apiToken: {secure: v1:abc}, a:other: {secure: v1:def}}"
    found = read(tmp_path, text)
    assert found.config == dict.fromkeys((TOKEN, "a:other"), stack_file.PLACEHOLDER_TOKEN)
    assert found.secret_keys == [TOKEN, "a:other"]


def test_a_token_in_plain_text_is_not_replaced(tmp_path: Path) -> None:
    found = read(tmp_path, "config: {proxmoxve:apiToken: me@pve!plain=1}")
    assert found.config == {TOKEN: "me@pve!plain=1"}
    assert found.secret_keys == []


def test_a_group_with_a_key_named_secure_among_others_is_not_a_secret(tmp_path: Path) -> None:
    found = read(tmp_path, "config: {a:group: {secure: v1:abc, more: 1}}")
    assert json.loads(found.config["a:group"]) == {"secure": "v1:abc", "more": 1}
    assert found.secret_keys == [TOKEN]


def test_malformed_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    problem = refused(tmp_path, "config:\n  a:one: 1\n  a:two: [1, 2\n  a:three: 3\n")
    assert problem.path == "Pulumi.test.yaml"
    assert "is not valid YAML: line 4, column " in problem.reason


def test_a_tab_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 2, column 1: " in refused(tmp_path, "config:\n\ta:one: 1\n").reason


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("config:\n  a:one: 1\n  a:two: 2\n  a:one: 3\n", 4, "a:one"),
        ("config:\n  a:group:\n    count: 1\n    count: 2\n", 4, "count"),
        ("config: {}\nconfig: {}\n", 2, "config"),
    ],
    ids=["top", "nested", "config"],
)
def test_a_duplicate_key_is_refused_with_its_line(
    text: str, line: int, key: str, tmp_path: Path
) -> None:
    assert f"line {line}: the key {key} is duplicated" in refused(tmp_path, text).reason


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.test.yaml").write_bytes("config: {a:b: schlo\u00df}".encode("latin-1"))
    with pytest.raises(SettingsError, match="cannot be read: 'utf-8' codec"):
        stack_file.read("test", tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.test.yaml").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        stack_file.read("test", tmp_path)


def test_a_mistyped_stack_suggests_the_nearest_stack(tmp_path: Path) -> None:
    for stack in ("homelab", "ha"):
        (tmp_path / f"Pulumi.{stack}.yaml").touch()
    with pytest.raises(SettingsError) as raised:
        stack_file.read("homlab", tmp_path)
    (problem,) = raised.value.problems
    assert problem.value == "homlab"
    assert problem.reason == "Pulumi.homlab.yaml does not exist"
    assert problem.fix == "did you mean homelab?"


def test_an_unknown_stack_lists_all_stacks(tmp_path: Path) -> None:
    for stack in ("homelab", "ha"):
        (tmp_path / f"Pulumi.{stack}.yaml").touch()
    with pytest.raises(SettingsError) as raised:
        stack_file.read("xyz", tmp_path)
    assert raised.value.problems[0].fix == "use one of: ha, homelab"


@pytest.mark.parametrize("text", ["", "# nothing\n", "config:\n", "encryptionsalt: v1:abc\n", "{}"])
def test_an_empty_file_has_no_configuration(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text).config.keys() == {TOKEN}


@pytest.mark.parametrize("text", ["- a: 1\n", "config: [1, 2]\n", "config: text\n", "text"])
def test_anything_but_a_mapping_is_refused(text: str, tmp_path: Path) -> None:
    problem = refused(tmp_path, text)
    assert problem.path == "config"
    assert problem.reason == "is not a group of settings"


@pytest.mark.parametrize("text", ["config: {[1]: 2}", "config: {a:g: {2020-01-01: 1}}"])
def test_a_key_that_is_not_text_raises_only_settings_errors(text: str, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.t.yaml").write_text(text)
    with contextlib.suppress(SettingsError):
        stack_file.read("t", tmp_path)


def test_a_nested_secret_gets_a_placeholder(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.t.yaml").write_text("config: {a:g: {deep: {secure: v1:abc}}}")
    assert "v1:abc" not in stack_file.read("t", tmp_path).config["a:g"]


def test_yes_is_text_as_in_pulumi(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.t.yaml").write_text("config: {proxmoxve:insecure: yes}")
    assert stack_file.read("t", tmp_path).config["proxmoxve:insecure"] == "yes"


PLAIN: dict[str, Any] = {
    "true": True,
    "True": True,
    "FALSE": False,
    "fALSE": "fALSE",
    "true.example.org": "true.example.org",
    "false.example.org": "false.example.org",
    "trueish": "trueish",
    "yes": "yes",
    "No": "No",
    "on": "on",
    "y": "y",
    "~": None,
    "Null": None,
    "nullx": "nullx",
    "010": 8,
    "0o10": 8,
    "0O10": 8,
    "08": 8,
    "0o8": "0o8",
    "0X1F": 31,
    "0xZZ": "0xZZ",
    "-0b11": -3,
    "0b102": "0b102",
    "1_000": 1000,
    "1,000": "1,000",
    "_1": "_1",
    "+1": 1,
    "-0": 0,
    "1.0": 1,
    "1e3": 1000,
    "1.e3": 1000,
    ".5e1": 5,
    "-.5": -0.5,
    "685_230.15": 685230.15,
    "1e400": "1e400",
    "1e": "1e",
    "9223372036854775807": 9223372036854775807,
    "123456789012345678901234567890": 1.2345678901234568e29,
    "190:20:30": "190:20:30",
    "1:30": "1:30",
    "192.168.1.10": "192.168.1.10",
    "1.2.3": "1.2.3",
    "2020-01-01": "2020-01-01 00:00:00 +0000 UTC",
    "2020-1-1": "2020-01-01 00:00:00 +0000 UTC",
    "2020-13-45": "2020-13-45",
    "2020-01-01 1:02:03.250": "2020-01-01 01:02:03.25 +0000 UTC",
    "2020-01-01T00:00:00": "2020-01-01T00:00:00",
    "2020-01-01T00:00:00Z": "2020-01-01 00:00:00 +0000 UTC",
    "2001-12-14T21:59:43.10-05:00": "2001-12-14 21:59:43.1 -0500 -0500",
    "=": "=",
    "<<": "<<",
    ".": ".",
    "inf": "inf",
    "!!int '3'": 3,
    "!!str 010": "010",
    "'true'": "true",
}
"""Text in a stack file to the value that the program gets. tests/tools/test_stack_file.py compares
the values with the real Pulumi CLI."""


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_value_is_read_like_in_pulumi(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, f"config:\n  a:g:\n    value: {text}\n").config["a:g"]
    value = json.loads(found)["value"]
    assert (type(value), value) == (type(PLAIN[text]), PLAIN[text])


NO_NUMBERS = (".inf", "-.Inf", "+.INF", ".nan", ".NaN")


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_infinity_and_nan_are_refused_with_their_line(tmp_path: Path, text: str) -> None:
    problem = refused(tmp_path, f"config:\n  a:g:\n    value: {text}\n")
    assert problem.reason.startswith("is not valid YAML: line 3, column 12: ")
    assert problem.reason.endswith(f"{text} is not a number that Pulumi accepts")


@pytest.mark.parametrize("value", ["!!int three", "!!bool maybe", "!!timestamp now", "!!float x"])
def test_a_tag_that_does_not_fit_raises_only_settings_errors(tmp_path: Path, value: str) -> None:
    with contextlib.suppress(SettingsError):
        read(tmp_path, f"config: {{a:g: {{value: {value}}}}}")


def test_a_suggested_stack_name_may_contain_a_dot(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.prod.eu.yaml").touch()
    with pytest.raises(SettingsError, match="did you mean prod.eu"):
        stack_file.read("prod.e", tmp_path)


def test_yaml_merge_keys_are_supported(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.t.yaml").write_text("x: &d {a: 1}\nconfig: {a:g: {<<: *d, b: 2}}")
    stack_file.read("t", tmp_path)


FLUX = """
config:
  ephemeral-castle:flux: {url: https://tazlab.net/m.git, token: {secure: v1:abc}}
  ephemeral-castle:sops: {age_key: {secure: v1:def}}
"""


def test_a_secret_among_other_keys_gets_a_placeholder(tmp_path: Path) -> None:
    found = read(tmp_path, FLUX)
    assert json.loads(found.config["ephemeral-castle:flux"]) == {
        "url": "https://tazlab.net/m.git",
        "token": "rehearsal",
    }
    assert "ephemeral-castle:flux" in found.secret_keys
    assert "ephemeral-castle:sops" in found.secret_keys


def test_an_encrypted_value_that_is_not_a_secret_is_refused(tmp_path: Path) -> None:
    problem = refused(tmp_path, FLUX.replace("https://tazlab.net/m.git", "{secure: v1:ghi}"))
    assert (problem.path, problem.value) == ("flux.url", "encrypted")


NODES = "config:\n  ephemeral-castle:nodes: {workers: {count: 3}}\n"


def test_values_encrypted_with_sops_get_placeholders(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.test.sops.yaml").write_text(
        "proxmoxve:apiToken: ENC[AES256_GCM,data:x]\n"
        "ephemeral-castle:flux: {token: 'ENC[AES256_GCM,data:x]'}\n"
        "sops: {version: 3.13.3}\n"
    )
    found = read(tmp_path, FLUX.replace(", token: {secure: v1:abc}", ""))
    assert found.config[TOKEN] == stack_file.PLACEHOLDER_TOKEN
    assert json.loads(found.config["ephemeral-castle:flux"])["token"] == "rehearsal"
    assert TOKEN in found.secret_keys


def test_patches_with_an_encrypted_kind_are_omitted(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.test.sops.yaml").write_text(
        "ephemeral-castle:nodes:\n"
        "  workers:\n"
        "    patches:\n"
        "      - {apiVersion: 'ENC[x]', kind: 'ENC[x]', name: 'ENC[x]', password: 'ENC[x]'}\n"
        "      - {machine: {sysctls: {a: 'ENC[x]'}, certSANs: ['ENC[x]']}}\n"
        "sops: {version: 3.13.3}\n"
    )
    found = read(tmp_path, NODES)
    workers = json.loads(found.config["ephemeral-castle:nodes"])["workers"]
    assert workers["patches"] == [
        {"machine": {"sysctls": {"a": "rehearsal"}, "certSANs": ["rehearsal"]}}
    ]
    assert workers["count"] == 3
    assert "ephemeral-castle:nodes" in found.secret_keys


def test_a_sops_file_is_not_suggested_as_a_stack(tmp_path: Path) -> None:
    for name in ("homelab", "homelab.sops"):
        (tmp_path / f"Pulumi.{name}.yaml").touch()
    with pytest.raises(SettingsError) as raised:
        stack_file.read("xyz", tmp_path)
    assert raised.value.problems[0].fix == "use one of: homelab"


@pytest.mark.parametrize(
    "path", ["flux.deploy_key", "s3.access_key", "traefik.acme.dns.credentials.CF_TOKEN"]
)
def test_a_secret_setting_may_be_encrypted(path: str) -> None:
    assert stack_file.SECRETS.fullmatch(path)
    assert not stack_file.SECRETS.fullmatch(f"{path}.other")


def test_a_setting_in_both_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.test.sops.yaml").write_text(
        "flux: {token: 'ENC[AES256_GCM,data:x]'}\nsops: {version: 3.13.3}\n"
    )
    problem = refused(tmp_path, FLUX)
    assert problem.path == "flux.token"
    assert problem.reason == "is in the stack file and in the encrypted file"


DOCUMENT = """
encryptionsalt: v1:abc
config:
  traefik: {acme: {server: production, email: null}}
  ephemeral-castle:sops: {secure: v1:def}
"""


def test_a_document_has_the_values_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.test.yaml").write_text(DOCUMENT)
    found = stack_file.open_file(tmp_path / "Pulumi.test.yaml")
    assert "encryptionsalt" in found.keys
    assert found.value("traefik.acme.server") == "production"
    for absent in ("traefik.acme.email", "traefik.acme.server.name", "flux.url"):
        assert found.value(absent) is None
    assert stack_file.is_encrypted(found.value("sops.age_key"))
