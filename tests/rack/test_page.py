"""The live page: what it shows, to whom, and that it shows no secret."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.rack.page.view import LATEST, view
from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.messages import talos

from . import browser
from .machine_configs import SELECTOR, VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply, Connect

CONTROL_PLANE, WORKER = "127.77.5.11", "127.77.5.21"


async def state(rack: Rack) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{rack.page_url}state") as answer:
        assert answer.status == 200
        return await answer.json()


@pytest.fixture
async def castle(
    rack: Rack, proxmox: ProxmoxClient, secrets: ClusterSecrets, apply: Apply, connect: Connect
) -> None:
    """A bootstrapped control plane, a worker in maintenance mode, and somebody else's machine."""
    await proxmox.boot_machine(101, CONTROL_PLANE, name="castle-control-plane-1")
    await proxmox.boot_machine(201, WORKER, name="castle-worker-1", cipassword="hunter2-hunter2")
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))
    async with connect(CONTROL_PLANE) as client:
        await client.call("Bootstrap", talos.BootstrapRequest())
    rack.proxmox.cluster.add_foreign(300, node="pve", kind="lxc", config={"name": "<b>nas</b>"})


@pytest.mark.usefixtures("castle")
async def test_it_knows_hosts_machines_disks_addresses_and_images(rack: Rack) -> None:
    shown = await state(rack)
    (host,) = shown["hosts"]
    assert host["name"] == "pve"
    assert [storage["name"] for storage in host["storages"]] == ["local", "local-lvm"]
    control_plane, worker, foreign = host["machines"]
    assert {
        key: control_plane[key] for key in ("id", "name", "state", "stage", "role", "etcd")
    } == {
        "id": 101,
        "name": "castle-control-plane-1",
        "state": "running",
        "stage": "running",
        "role": "control plane",
        "etcd": "member",
    }
    assert control_plane["address"] == CONTROL_PLANE
    gib = 1024**3
    disks = [(disk["key"], disk["size"], disk["of_image"]) for disk in control_plane["disks"]]
    assert disks[1:] == [("scsi0", 10 * gib, True), ("scsi1", 43 * gib, False)]
    assert (worker["stage"], worker["role"], worker["etcd"]) == ("maintenance", "", "")
    assert (foreign["kind"], foreign["stage"], foreign["disks"]) == ("lxc", "", [])
    assert shown["addresses"] == [
        {"address": VIP, "what": "virtual IP", "owner": "cluster castle"},
        {"address": CONTROL_PLANE, "what": "machine", "owner": "castle-control-plane-1"},
        {"address": WORKER, "what": "machine", "owner": "castle-worker-1"},
    ]
    (image,) = shown["images"]
    assert (image["host"], image["name"]) == ("pve", "local:import/talos.qcow2")


@pytest.mark.usefixtures("castle")
async def test_machines_without_power_and_a_cluster_without_etcd_are_told(
    rack: Rack, proxmox: ProxmoxClient, secrets: ClusterSecrets, apply: Apply
) -> None:
    await apply(WORKER, secrets.config("worker", "worker1", selector=SELECTOR))
    await proxmox.vm(201, "POST", "status/stop")
    rack.proxmox.cluster.vms[101].lock = "backup"
    shown = await state(rack)
    locked, stopped, _ = shown["hosts"][0]["machines"]
    assert (locked["lock"], stopped["state"]) == ("backup", "stopped")
    assert shown["addresses"][-1]["what"] == "machine without power"
    rack.machines[CONTROL_PLANE].installation.has_etcd_data = False
    shown = await state(rack)
    assert shown["addresses"][0]["what"] == "virtual IP, etcd does not run"
    assert shown["hosts"][0]["machines"][0]["etcd"] == "waits for bootstrap"


async def test_the_latest_requests_come_first_and_only_so_many(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    for _ in range(LATEST):
        await proxmox.call("GET", "/version")
    await proxmox.call("GET", "/nodes/pve/storage", content="import")
    shown = (await state(rack))["requests"]
    assert shown["total"] == shown["by_api"]["proxmox"] == len(rack.requests)
    assert len(shown["latest"]) == LATEST
    assert shown["latest"][0] == {
        "number": shown["total"],
        "api": "proxmox",
        "method": "GET",
        "path": "/nodes/pve/storage",
        "parameters": {"content": "import"},
    }


@pytest.mark.usefixtures("castle")
async def test_no_secret_is_shown(
    rack: Rack, proxmox: ProxmoxClient, secrets: ClusterSecrets
) -> None:
    secret = "of-somebody-who-told-it-to-the-wrong-machine"
    url = f"https://me:{secret}@images.test/talos.qcow2?token={secret}"
    await proxmox.download_image("other.qcow2", url=url)
    await proxmox.vm(201, "PUT", "config", cipassword=secret, sshkeys=secret, description=secret)
    text = json.dumps(await state(rack))
    assert "images.test/talos.qcow2" in text
    for hidden in (secret, "hunter2", rack.api_token.partition("=")[2]):
        assert hidden not in text
    for pair in (secrets.machine_ca, secrets.cluster_ca):
        assert pair.key_pem.decode().splitlines()[1] not in text


async def test_only_who_asks_for_its_own_address_is_answered(rack: Rack) -> None:
    """A site of somebody else's whose name leads to loopback must not read it."""
    async with aiohttp.ClientSession() as session:
        for name, status in (("rebound.example.org", 421), ("", 200)):
            headers = {"Host": name} if name else {}
            async with session.get(f"{rack.page_url}state", headers=headers) as answer:
                assert answer.status == status


async def test_the_page_stays_where_it_is_when_the_rack_is_emptied(rack: Rack) -> None:
    url = rack.page_url
    rack.proxmox.cluster.add_foreign(300, node="pve")
    await rack.reset()
    assert rack.page_url == url
    assert (await state(rack))["hosts"][0]["machines"] == []
    assert view(rack)["images"] == []


@pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium on PATH")
@pytest.mark.usefixtures("castle")
async def test_a_person_sees_it_live_on_a_phone_by_day_and_by_night(
    rack: Rack, proxmox: ProxmoxClient
) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with browser.browser(Path(folder)) as page:
            await page.call(
                "Emulation.setDeviceMetricsOverride",
                width=360,
                height=740,
                deviceScaleFactor=1,
                mobile=True,
            )
            await page.open(rack.page_url)
            text = await page.text_with("castle-control-plane-1", VIP, "<b>nas</b>", "Bootstrap")
            assert "maintenance" in text and "virtual IP" in text
            await proxmox.vm(201, "POST", "status/stop")
            await page.text_with("machine without power")
            wide = "[...document.querySelectorAll('body, main, section, article')].filter("
            wide += "e => e.getBoundingClientRect().right > innerWidth).length"
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            assert await page.evaluate(wide) == 0
            colours = set()
            for scheme in ("light", "dark"):
                feature = {"name": "prefers-color-scheme", "value": scheme}
                await page.call("Emulation.setEmulatedMedia", features=[feature])
                colours.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert len(colours) == 2
            assert {url for url in page.requested if not url.startswith(rack.page_url)} <= {
                "data:,"
            }
            assert page.complaints == []
            await rack.stop()
            await page.text_with("The rack does not answer")
