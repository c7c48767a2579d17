"""What a run that is gone has begun on a simulated Proxmox is waited for."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from commands import running_tasks
from settings.groups import Endpoint
from tests.e2e.rack.rack import Rack

from .proxmox_client import ProxmoxClient

ADDRESS = "127.77.3.11"


def endpoint(rack: Rack) -> Endpoint:
    return Endpoint(endpoint=rack.endpoint, apiToken=SecretStr(rack.api_token), insecure=True)


async def test_a_machine_whose_disks_are_imported_is_nobodys_until_it_is_made(
    rack: Rack, proxmox: ProxmoxClient, capsys: pytest.CaptureFixture[str]
) -> None:
    rack.proxmox.tasks.import_s = 1
    begun = asyncio.create_task(proxmox.create_vm(101, ADDRESS, tags="ours"))
    while 101 not in rack.vms:
        await asyncio.sleep(0)
    [guest] = await proxmox.call("GET", "/cluster/resources", type="vm")
    assert guest["lock"] == "create"
    assert "tags" not in guest and "name" not in guest

    await asyncio.to_thread(running_tasks.wait_for, endpoint(rack))
    assert "a task of an earlier run: qmcreate 101 on pve. Waiting" in capsys.readouterr().out
    assert (rack.vms[101].config["tags"], rack.vms[101].lock) == ("ours", "")
    await begun

    await asyncio.to_thread(running_tasks.wait_for, endpoint(rack))
    assert capsys.readouterr().out == ""


async def test_what_others_have_begun_is_theirs(
    rack: Rack, capsys: pytest.CaptureFixture[str]
) -> None:
    for user in ("root@pam", "castle@pve!another", "castle@pve"):
        rack.proxmox.tasks.record("pve", "vzdump", 102, user, exitstatus=None)
    await asyncio.to_thread(running_tasks.wait_for, endpoint(rack))
    assert capsys.readouterr().out == ""


async def test_where_nobody_answers_the_next_step_says_so(
    rack: Rack, capsys: pytest.CaptureFixture[str]
) -> None:
    await rack.stop()
    await asyncio.to_thread(running_tasks.wait_for, endpoint(rack))
    assert capsys.readouterr().out == ""
