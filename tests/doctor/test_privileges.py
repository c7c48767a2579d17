"""One list of privileges: in the code, in the README, and in the cures."""

from __future__ import annotations

import itertools
import re
import shlex

import pytest

from doctor.findings import Finding
from doctor.privileges import CASTLE, CASTLE_IMAGES
from settings.project import PROJECT_FOLDER
from tests.doctor.house import FakeHomelab
from tests.e2e.rack.proxmox.access import Access

USER = "root@pam"


def pveum(access: Access, commands: list[str]) -> None:
    """Do what a shell of a Proxmox host would, as far as roles and their places go."""
    for command in commands:
        _, *words = shlex.split(command)
        options = dict(itertools.pairwise(words))
        match words:
            case ["role", "add", name, *_]:
                assert name not in access.roles
                access.roles[name] = frozenset(
                    (options.get("-privs") or options["--privs"]).split()
                )
            case ["role", "modify", name, "--append", "1", *_]:
                access.roles[name] |= frozenset(options["--privs"].split())
            case ["acl", "modify", path, "--users", _, "--roles", name]:
                assert name in access.roles
                access.acl[path] = access.acl.get(path, frozenset()) | {name}
            case ["user", *_]:
                pass
            case _:
                raise AssertionError(f"unknown: {command}")


def commands_of_the_readme() -> list[str]:
    text = (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [" ".join(line.split()) for line in re.findall(r"^ *(pveum .*)$", text, re.MULTILINE)]


def test_the_readme_makes_the_roles_of_the_code() -> None:
    access = Access(acl={})
    pveum(access, commands_of_the_readme())
    assert access.roles["Castle"] == set(CASTLE.privileges)
    assert access.roles["CastleImages"] == set(CASTLE_IMAGES.privileges)


async def test_the_commands_of_the_readme_are_enough(house: FakeHomelab) -> None:
    access = house.rack.proxmox.access
    access.acl.clear()
    pveum(access, commands_of_the_readme())
    assert await house.troubles() == []


def lacks(access: Access) -> None:
    access.roles["Castle"] -= {"VM.Config.Disk", "SDN.Use"}


def has_no_role(access: Access) -> None:
    access.roles = {"Other": frozenset({"VM.Audit"})}
    access.acl = {"/": frozenset({"Other"})}


def is_replaced_for_machines(access: Access) -> None:
    access.roles["Other"] = frozenset({"VM.Audit"})
    access.acl["/vms"] = frozenset({"Other"})


def is_replaced_on_the_images(access: Access) -> None:
    access.roles["CastleImages"] = frozenset({"Datastore.Allocate"})


def is_not_where_it_should_be(access: Access) -> None:
    del access.acl["/storage/local"]


def is_on_one_path_only(access: Access) -> None:
    access.acl = {"/vms": frozenset({"Castle"}), "/storage/local": frozenset({"CastleImages"})}


@pytest.mark.parametrize(
    "fault",
    [
        lacks,
        has_no_role,
        is_replaced_for_machines,
        is_replaced_on_the_images,
        is_not_where_it_should_be,
        is_on_one_path_only,
    ],
)
async def test_the_cure_cures(house: FakeHomelab, fault: object) -> None:
    access = house.rack.proxmox.access
    access.acl.clear()
    pveum(access, commands_of_the_readme())
    assert callable(fault)
    fault(access)
    found = await house.troubles()
    assert found and {check for check, _ in found} == {"privileges"}
    pveum(access, cures([finding for _, finding in found]))
    assert await house.troubles() == []


def cures(findings: list[Finding]) -> list[str]:
    """The commands, each once, as a person would run them."""
    return list(dict.fromkeys(c for finding in findings for c in finding.fix.split("; ")))


async def test_the_token_is_named_but_its_secret_is_not(house: FakeHomelab) -> None:
    told = repr(await house.examine())
    assert "root@pam!rack" in told
    assert house.rack.api_token.partition("=")[2] not in told
