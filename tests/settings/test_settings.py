"""Defaults that depend on other settings, warnings, and the form of problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import ValidationError

from settings import rules
from settings.backups import VolumeBackup
from settings.charts import Longhorn, Traefik
from settings.groups import Cluster, Nodes, Proxmox
from settings.load import load
from settings.models import Settings
from settings.problems import Problem, SettingsError, did_you_mean
from settings.running import RunningStack

TOKEN = "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"
NETWORK = {"cidr": "192.168.1.0/24", "gateway": "192.168.1.1"}
CONTROL_PLANES = {"first_address": "192.168.1.230"}
WORKERS = {"first_address": "192.168.1.155"}
ACME = {"email": "me@tazlab.net"}


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logged warnings; ``pulumi.log`` itself needs a running Pulumi engine."""
    logged: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", logged.append)
    return logged


def settings_of(stack: str = "test", **groups: Any) -> Settings:
    """A small valid stack, with some groups replaced."""
    defaults: dict[str, Any] = {
        "network": NETWORK,
        "cluster": {"vip": "192.168.1.250"},
        "nodes": {"control_planes": CONTROL_PLANES, "workers": WORKERS},
        "proxmox": {"hosts": ["pve1", "pve2"]},
        "metallb": {"pool": "192.168.1.240-192.168.1.245"},
        "traefik": {"acme": ACME},
        "whoami": {"host": "whoami.tazlab.net"},
    }
    config = {
        f"ephemeral-castle:{name}": json.dumps(group) for name, group in (defaults | groups).items()
    }
    config["proxmoxve:endpoint"] = "https://192.168.1.10:8006/"
    config["proxmoxve:apiToken"] = TOKEN
    return load(config, stack)


def _nodes(count: int, *, on_control_planes: bool = False) -> dict[str, Any]:
    disk = {"data_disk_gib": 50} if on_control_planes else {}
    return {"control_planes": CONTROL_PLANES | disk, "workers": WORKERS | {"count": count}}


# Defaults -----------------------------------------------------------------------------------------


def test_the_default_name_server_is_the_gateway() -> None:
    assert settings_of().nameservers == (IPv4Address("192.168.1.1"),)
    changed = settings_of(network=NETWORK | {"nameservers": ["9.9.9.9", "1.1.1.1"]})
    assert [str(server) for server in changed.nameservers] == ["9.9.9.9", "1.1.1.1"]


@pytest.mark.parametrize(
    ("nodes", "replicas"), [(_nodes(3), 2), (_nodes(1), 1), (_nodes(0, on_control_planes=True), 1)]
)
def test_volumes_have_two_copies_by_default_and_one_with_one_data_disk(
    nodes: dict[str, Any], replicas: int
) -> None:
    assert settings_of(nodes=nodes).replicas == replicas


def test_longhorn_replicas_sets_the_number_of_copies() -> None:
    assert settings_of(longhorn={"replicas": 1}).replicas == 1


def test_the_default_ingress_address_is_the_first_of_the_pool() -> None:
    assert str(settings_of().ingress_address) == "192.168.1.240"
    changed = settings_of(traefik={"address": "192.168.1.243", "acme": ACME})
    assert str(changed.ingress_address) == "192.168.1.243"


def test_the_ingress_address_is_the_vip_with_host_network() -> None:
    found = settings_of(traefik={"exposure": "host-network", "acme": ACME})
    assert found.ingress_address == found.cluster.vip


def test_each_stack_has_its_own_tag() -> None:
    assert settings_of("homelab").stack_tag == "ephemeral-castle-homelab"
    assert settings_of("HA").stack_tag == "ephemeral-castle-ha"


def test_machines_are_the_control_planes_and_the_workers() -> None:
    found = settings_of()
    assert found.machines == (*found.control_planes, *found.workers)
    assert [len(found.control_planes), len(found.workers)] == [1, 3]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings_of().cluster.name = "keep"


def test_the_trailing_slash_of_a_url_is_removed() -> None:
    assert settings_of().proxmoxve.endpoint == "https://192.168.1.10:8006"


# Advice -------------------------------------------------------------------------------------------


def _advice(
    *,
    overrides: dict[str, Any] | None = None,
    control_planes: dict[str, Any] | None = None,
    traefik: dict[str, Any] | None = None,
    email: str = "me@tazlab.net",
    replicas: int = 1,
    hosts: Sequence[str] = ("pve",),
) -> list[str]:
    nodes = {
        "control_planes": control_planes or CONTROL_PLANES,
        "workers": WORKERS,
        "overrides": overrides or {},
    }
    groups = {
        "nodes": Nodes.model_validate(nodes),
        "cluster": Cluster.model_validate({"vip": "192.168.1.250"}),
        "proxmox": Proxmox(hosts=tuple(hosts)),
        "longhorn": Longhorn(replicas=replicas),
        "traefik": Traefik.model_validate({"acme": {"email": email}} | (traefik or {})),
    }
    return list(rules.advice(groups, RunningStack()))


def test_settings_without_surprises_give_no_warning() -> None:
    assert _advice(overrides={"worker-3": {"cores": 8}, "control-plane-1": {"cores": 4}}) == []


def test_an_override_of_a_missing_node_gives_a_warning() -> None:
    assert _advice(overrides={"worker-4": {"cores": 8}, "control-plane-2": {"cores": 8}}) == [
        "nodes.overrides.control-plane-2 has no effect: there is no node of that name, "
        "because the count of role control-plane is 1.",
        "nodes.overrides.worker-4 has no effect: there is no node of that name, "
        "because the count of role worker is 3.",
    ]


def test_a_host_that_is_not_in_proxmox_hosts_gives_a_warning() -> None:
    (sentence,) = _advice(overrides={"worker-3": {"host": "pve2"}})
    assert sentence.startswith("nodes.overrides.worker-3.host pve2 is not in proxmox.hosts")


def test_control_planes_on_one_host_give_a_warning() -> None:
    many = {"count": 3, "first_address": "192.168.1.231"}
    (sentence,) = _advice(control_planes=many)
    assert sentence.startswith("3 control planes run on 1 Proxmox host: ")


def test_copies_on_one_host_give_a_warning() -> None:
    (sentence,) = _advice(replicas=2)
    assert sentence == (
        "All 2 copies of each Longhorn volume are on the Proxmox host pve, the only one whose "
        "nodes have a data disk: volumes survive the loss of a node, but not of this host."
    )
    none = {name: {"data_disk_gib": None} for name in ("worker-1", "worker-3")}
    (sentence,) = _advice(replicas=2, hosts=("pve1", "pve2"), overrides=none)
    assert "on the Proxmox host pve1, the only one whose nodes have a data disk" in sentence


def test_copies_on_two_hosts_give_no_warning() -> None:
    assert _advice(replicas=2, hosts=("pve1", "pve2")) == []


def test_an_ingress_address_with_host_network_gives_a_warning() -> None:
    (sentence,) = _advice(traefik={"exposure": "host-network", "address": "192.168.1.240"})
    assert "forward ports 80 and 443 to the VIP 192.168.1.250" in sentence


@pytest.mark.parametrize("domain", ["example.org", "mail.example.com", "castle.local", "x.lan"])
def test_an_example_email_address_gives_a_warning(domain: str) -> None:
    (sentence,) = _advice(email=f"me@{domain}")
    assert sentence.startswith(f"traefik.acme.email me@{domain} is an example address: ")


def test_advice_is_logged_as_warnings(warnings: list[str]) -> None:
    settings_of(traefik={"acme": {"email": "me@example.org"}})
    assert [line for line in warnings if line.startswith("traefik.acme.email me@example.org ")]


def test_a_token_in_plain_text_gives_a_warning_that_does_not_show_it(
    warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(load.__globals__, "is_config_secret", lambda key: False)
    settings_of()
    (warning,) = warnings
    assert warning.startswith("proxmoxve:apiToken is in Pulumi.test.yaml in plain text")
    assert "pulumi config set --secret proxmoxve:apiToken" in warning
    assert TOKEN.rpartition("=")[2] not in warning


def test_a_nested_secret_in_plain_text_gives_a_warning_with_its_path(
    warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = {"provider": "desec", "credentials": {"DESEC_TOKEN": "5eed1e55cafe"}}
    settings_of(traefik={"acme": {"email": "me@tazlab.net", "dns": dns}})
    path = "traefik.acme.dns.credentials.DESEC_TOKEN"
    (warning,) = [line for line in warnings if line.startswith(path)]
    assert f"pulumi config set --secret --path {path}" in warning
    assert "5eed1e55cafe" not in warning
    monkeypatch.setitem(load.__globals__, "is_config_secret", lambda key: True)
    warnings.clear()
    settings_of(traefik={"acme": {"email": "me@tazlab.net", "dns": dns}})
    assert warnings == []


def test_an_encrypted_token_gives_no_warning(
    warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        load.__globals__, "is_config_secret", lambda key: key == "proxmoxve:apiToken"
    )
    settings_of()
    assert warnings == []


# Problems -----------------------------------------------------------------------------------------


def test_a_problem_shows_path_value_reason_and_fix() -> None:
    assert (
        str(Problem("a.b", "1", "is wrong", "write 2")) == "a.b = 1\n    is wrong\n    -> write 2"
    )


def test_each_problem_is_listed_once_and_sorted_by_path() -> None:
    later, earlier = Problem("b", "1", "why", "fix"), Problem("a", "1", "why", "fix")
    error = SettingsError([later, earlier, later], "homelab")
    assert error.problems == (earlier, later)
    assert str(error).startswith("Pulumi.homelab.yaml has 2 problems; nothing has been touched.\n")
    assert "has 1 problem;" in str(SettingsError([later], "homelab"))


def test_a_typo_suggests_the_nearest_word_and_other_words_list_all() -> None:
    assert did_you_mean("worker", ["workers", "control_planes"]) == "did you mean workers?"
    assert did_you_mean("xyz", ["b", "a"]) == "use one of: a, b"
    assert did_you_mean("xyz", []) == "remove it"


@pytest.mark.parametrize(
    "schedule",
    ["0 3 * * *", "*/15 0-23/2 1,15 1-12 0", "59 23 31 12 6", "0 3 * * 1-5", "5/10 3 */2 * 0,6"],
)
def test_a_schedule_that_longhorn_accepts_is_valid(schedule: str) -> None:
    assert VolumeBackup(target="nfs://192.168.1.5:/backups", schedule=schedule)


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        ("60 3 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 3 0 * *", "day"),
        ("0 3 32 * *", "day"),
        ("0 3 * 0 *", "month"),
        ("0 3 * 13 *", "month"),
        ("0 3 * * 7", "weekday"),
        ("0 3 * * 5-1", "weekday"),
        ("0 20-4 * * *", "hour"),
        ("*/0 3 * * *", "minute"),
        ("0 3,99 * * *", "hour"),
        ("0 3 1, * *", "day"),
        ("0 1-2-3 * * *", "hour"),
        ("1/2/3 3 * * *", "minute"),
    ],
)
def test_a_schedule_that_longhorn_refuses_is_invalid(schedule: str, field: str) -> None:
    with pytest.raises(ValidationError, match=f"has an invalid {field}"):
        VolumeBackup(target="nfs://192.168.1.5:/backups", schedule=schedule)
