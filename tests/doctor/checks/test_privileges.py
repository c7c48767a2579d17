"""The same privileges in the code, in README.md and in the fixes of the doctor."""

from __future__ import annotations

import itertools
import re
import shlex

import pytest

from doctor.checks.privileges import CASTLE, CASTLE_IMAGES, RUN_ON_A_HOST
from doctor.findings import Finding, Result
from settings.project import PROJECT_FOLDER
from tests.doctor.homelab import FakeHomelab
from tests.e2e.rack.proxmox.access import Access

TOKEN_ID = "root@pam!rack"


def pveum(access: Access, commands: list[str]) -> None:
    """Run ``pveum`` commands on the fake: those that change roles and their paths."""
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
            case ["acl", "modify", path, "--users", _, *tokens, "--roles", name]:
                assert tokens in ([], ["--tokens", TOKEN_ID])
                assert name in access.roles
                access.acl[path] = access.acl.get(path, frozenset()) | {name}
            case ["user", *_]:
                pass
            case _:
                raise AssertionError(f"unknown: {command}")


def commands_of_the_readme() -> list[str]:
    text = (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [" ".join(line.split()) for line in re.findall(r"^ *(pveum .*)$", text, re.MULTILINE)]


def test_the_readme_creates_the_roles_of_the_code() -> None:
    access = Access(acl={})
    pveum(access, commands_of_the_readme())
    assert access.roles["Castle"] == set(CASTLE.privileges)
    assert access.roles["CastleImages"] == set(CASTLE_IMAGES.privileges)


async def test_the_commands_of_the_readme_grant_all_privileges(homelab: FakeHomelab) -> None:
    access = homelab.rack.proxmox.access
    access.acl.clear()
    pveum(access, commands_of_the_readme())
    checks = await homelab.collect_findings()
    findings = [finding for check in checks for finding in check.findings]
    assert [it for it in findings if it.result in (Result.WARNING, Result.FAILURE)] == []
    # Proxmox refused no request.
    assert [it for it in findings if "may not read" in it.text] == []


def role_lacks_privileges(access: Access) -> None:
    access.roles["Castle"] -= {"VM.Config.Disk", "SDN.Use"}


def roles_do_not_exist(access: Access) -> None:
    access.roles = {"Other": frozenset({"VM.Audit"})}
    access.acl = {"/": frozenset({"Other"})}


def other_role_on_vms(access: Access) -> None:
    access.roles["Other"] = frozenset({"VM.Audit"})
    access.acl["/vms"] = frozenset({"Other"})


def image_role_lacks_privileges(access: Access) -> None:
    access.roles["CastleImages"] = frozenset({"Datastore.Allocate"})


def image_role_is_not_assigned(access: Access) -> None:
    del access.acl["/storage/local"]


def nothing_is_granted(access: Access) -> None:
    access.roles, access.acl = {}, {}


def role_is_assigned_only_on_vms(access: Access) -> None:
    access.acl = {"/vms": frozenset({"Castle"}), "/storage/local": frozenset({"CastleImages"})}


@pytest.mark.parametrize(
    "fault",
    [
        role_lacks_privileges,
        roles_do_not_exist,
        other_role_on_vms,
        image_role_lacks_privileges,
        image_role_is_not_assigned,
        role_is_assigned_only_on_vms,
        nothing_is_granted,
    ],
)
async def test_the_fix_grants_the_missing_privileges(homelab: FakeHomelab, fault: object) -> None:
    access = homelab.rack.proxmox.access
    access.acl.clear()
    pveum(access, commands_of_the_readme())
    assert callable(fault)
    fault(access)
    found = await homelab.warnings_and_failures()
    assert found and {check for check, _ in found} == {"privileges"}
    pveum(access, commands_in_fixes([finding for _, finding in found]))
    assert await homelab.warnings_and_failures() == []


def commands_in_fixes(findings: list[Finding]) -> list[str]:
    """The commands of all fixes, each once."""
    return list(
        dict.fromkeys(
            c for finding in findings for c in finding.fix.removeprefix(RUN_ON_A_HOST).split("; ")
        )
    )


async def test_findings_name_the_token_but_not_its_secret(homelab: FakeHomelab) -> None:
    output = repr(await homelab.collect_findings())
    assert "root@pam!rack" in output
    assert homelab.rack.api_token.partition("=")[2] not in output
