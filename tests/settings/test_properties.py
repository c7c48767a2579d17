"""Property tests: any configuration loads or raises ``SettingsError``, never another error.

Hypothesis generates the same examples in every run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from settings.groups import PROJECT
from settings.load import load
from settings.models import Settings
from settings.problems import SettingsError

ROOT = Path(__file__).parent.parent.parent
TOKEN = "castle@pve!pulumi=5eed1e55-cafe-4bad-8bad-c0ffee123456"
REFERENCE: dict[str, Any] = {
    "proxmoxve:apiToken": TOKEN,
    **yaml.safe_load((ROOT / "Pulumi.homelab.yaml").read_text(encoding="utf-8"))["config"],
}

same_every_run = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    # All examples of a test share the fixtures.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXMOX_VE_API_TOKEN", raising=False)
    monkeypatch.setattr("pulumi.log.warn", lambda text: None)


def paths(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting below a model, groups included."""
    for name, field in model.model_fields.items():
        path = (*above, field.alias or name)
        yield path
        for inner in _models(field.annotation):
            # `overrides` maps node names to groups; worker-2 represents all names.
            named = (*path, "worker-2") if field.annotation is not inner else path
            if named != path:
                yield named
            yield from paths(inner, named)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for candidate in (annotation, *get_args(annotation)):
        is_class = isinstance(candidate, type) and not isinstance(candidate, UnionType)
        if is_class and issubclass(candidate, BaseModel):
            yield candidate


PATHS = [path for path in paths(Settings) if path[0] not in ("stack", "proxmoxve")]
PROVIDER_PATHS = [("proxmoxve:endpoint",), ("proxmoxve:insecure",), ("proxmoxve:apiToken",)]

# Almost valid values get past the first checks, unlike random ones.
almost_valid = st.sampled_from(
    [
        *("192.168.1.0", "192.168.1.1", "192.168.1.156", "192.168.1.240", "192.168.1.255"),
        *("0.0.0.0", "10.0.0.0/8", "192.168.1.0/24", "192.168.1.0/32", "0.0.0.0/0", "::1", "1.2.3"),
        *("192.168.1.240-192.168.1.245", "192.168.1.9-192.168.1.2", "0.0.0.0-192.168.1.9", "-"),
        *("v1.13.9", "v1.36.3", "v0.0.0", "v99.99.99", "1.12.1", "41.0.0", "0.16.0"),
        *(
            "castle",
            "pve",
            "worker-1",
            "control-plane-1",
            "a.b",
            "me@x.y",
            "https://a",
            "https://a:1/b",
        ),
        *("staging", "production", "load-balancer", "host-network", "true", "null", "[]", "{}"),
        *("user@pve!name=1", "user@pve!name=not-to-be-shown"),
        *(-1, 0, 1, 2, 3, 5, 10, 34, 43, 100, 250, 8000, 8010, 999_999_999, 2**31, 2**64, 1e300),
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(min_size=1, max_size=20)
    | almost_valid
)
names = st.sampled_from(sorted({part for path in PATHS for part in path})) | st.text(max_size=10)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def engine_text(value: Any) -> str:
    """A value in the form that Pulumi passes to the program."""
    return value if isinstance(value, str) else json.dumps(value)


def put(config: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a setting; create missing groups above it."""
    first, *inner = path if ":" in path[0] else (f"{PROJECT}:{path[0]}", *path[1:])
    parts = [first, *inner]
    for part in parts[:-1]:
        if not isinstance(config.get(part), dict):
            config[part] = {}
        config = config[part]
    config[parts[-1]] = value


def load_or_error(config: dict[str, Any]) -> Settings | SettingsError:
    """Load the configuration; on an error, check that each problem has all four parts."""
    try:
        return load({key: engine_text(value) for key, value in config.items()}, "test")
    except SettingsError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.path.strip(), error
            assert problem.value, error
            assert problem.reason.strip(), error
            assert problem.fix.strip(), error
        return error


def test_the_generated_paths_include_nested_settings() -> None:
    dotted = {".".join(path) for path in PATHS}
    assert {"network.cidr", "nodes.workers.count", "traefik.acme.email"} <= dotted
    assert {"nodes.overrides", "nodes.overrides.worker-2.address"} <= dotted


def test_the_unchanged_stack_file_loads() -> None:
    assert isinstance(load_or_error(REFERENCE), Settings)


@same_every_run
@given(path=st.sampled_from(PATHS + PROVIDER_PATHS), value=values)
def test_any_value_of_any_setting_loads_or_is_refused(path: tuple[str, ...], value: Any) -> None:
    config = deepcopy(REFERENCE)
    put(config, path, value)
    load_or_error(config)


@same_every_run
@given(changes=st.dictionaries(st.sampled_from(PATHS), almost_valid, max_size=4))
def test_several_changed_settings_load_or_are_refused(
    changes: dict[tuple[str, ...], Any],
) -> None:
    config = deepcopy(REFERENCE)
    for path, value in changes.items():
        put(config, path, value)
    load_or_error(config)


@same_every_run
@given(path=st.sampled_from(PATHS), key=st.text(min_size=1, max_size=20), value=values)
@example(path=("nodes", "overrides"), key="address", value=1)
def test_any_additional_key_is_ignored_or_refused(
    path: tuple[str, ...], key: str, value: Any
) -> None:
    config = deepcopy(REFERENCE)
    put(config, (*path, key), value)
    load_or_error(config)


@same_every_run
@given(
    config=st.dictionaries(
        st.sampled_from(sorted(REFERENCE))
        | st.tuples(
            st.sampled_from([PROJECT, "proxmoxve", "pulumi", "aws"]),
            st.text(min_size=1, max_size=9),
        ).map(":".join)
        | st.text(max_size=9),
        values,
        max_size=8,
    )
)
def test_any_configuration_loads_or_is_refused(config: dict[str, Any]) -> None:
    load_or_error(config)


@same_every_run
@given(token=st.text(min_size=1, max_size=40))
@example("root@pam!x=not to be shown")
def test_no_message_shows_a_token(token: str) -> None:
    secret = f"5eed-{token}"
    for other in ({}, {"proxmoxve:endpoint": "ftp://x"}):
        found = load_or_error(REFERENCE | {"proxmoxve:apiToken": secret} | other)
        assert secret not in str(found)


# Addresses ----------------------------------------------------------------------------------------

NETWORKS = [IPv4Network("192.168.1.0/24"), IPv4Network("10.0.0.0/23"), IPv4Network("10.0.0.0/27")]


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, Any]:
    """A stack whose nodes and ranges follow each other; in some stacks two of them overlap."""
    network = draw(st.sampled_from(NETWORKS))
    sizes = {
        "gateway": 1,
        "vip": 1,
        "control_planes": draw(st.sampled_from([1, 3, 5])),
        "workers": draw(st.integers(1, 20)),
        "pool": draw(st.integers(1, 10)),
        "dhcp": draw(st.integers(1, 60)),
        "moved": 1,
    }
    first: dict[str, IPv4Address] = {}
    last: dict[str, IPv4Address] = {}
    address = network.network_address + draw(st.integers(0, 3))
    shared = draw(st.integers(0, 2 * len(sizes)))
    for index, part in enumerate(draw(st.permutations(sorted(sizes)))):
        first[part] = address
        last[part] = address + (sizes[part] - 1)
        address = last[part] + (0 if index == shared else draw(st.sampled_from([1, 2, 5])))
    config = deepcopy(REFERENCE)
    put(config, ("network",), {"cidr": str(network), "gateway": str(first["gateway"])})
    put(config, ("network", "dhcp"), f"{first['dhcp']}-{last['dhcp']}")
    put(config, ("cluster", "vip"), str(first["vip"]))
    for role in ("control_planes", "workers"):
        group = {"count": sizes[role], "first_address": str(first[role])}
        put(config, ("nodes", role), group)
    put(config, ("nodes", "overrides", "worker-1"), {"address": str(first["moved"])})
    put(config, ("longhorn",), {})
    put(config, ("metallb", "pool"), f"{first['pool']}-{last['pool']}")
    put(config, ("traefik",), {"acme": {"email": "me@tazlab.net"}})
    return config


def test_in_loaded_settings_each_address_has_one_owner() -> None:
    good, bad = [], []

    @settings(same_every_run, max_examples=300)
    @given(config=layouts())
    def check(config: dict[str, Any]) -> None:
        found = load_or_error(config)
        if isinstance(found, SettingsError):
            bad.append(found)
            return
        good.append(found)
        cidr, dhcp, pool = found.network.cidr, found.network.dhcp, found.metallb.pool
        assert dhcp is not None
        machines = [node.address for node in found.machines]
        owned = [*machines, found.cluster.vip, found.network.gateway]
        assert len(set(owned)) == len(owned)
        assert all(address in cidr for address in owned)
        assert not {cidr.network_address, cidr.broadcast_address} & set(owned)
        assert not any(address in dhcp for address in (*machines, found.cluster.vip))
        assert not any(address in pool for address in owned)
        assert dhcp.last < pool.first or pool.last < dhcp.first
        assert {pool.first, pool.last, dhcp.first, dhcp.last} <= set(cidr.hosts())
        assert found.ingress_address in pool
        assert len({node.vm_id for node in found.machines}) == len(machines)
        assert len({node.name for node in found.machines}) == len(machines)

    check()
    # The test is meaningful only if some layouts load and others are refused.
    assert len(good) >= 30
    assert len(bad) >= 30
