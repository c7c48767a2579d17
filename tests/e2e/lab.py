"""A stack of its own on a simulated rack of its own, driven by the real CLI.

What is needed is looked for on PATH and where ``make e2e-tools`` puts it; ``missing`` says in one
line what is not there. The charts are our own stand-ins, or lie in the folder that
``CASTLE_CHARTS`` names, one sub-folder for each.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from settings.project import PROJECT_FOLDER
from tests.e2e.rack.kubernetes.webhook import PORT
from tests.e2e.sweep import files_with, forms, secrets_in
from tests.e2e.tools.build import FOLDER as BUILT

ENGINE = (
    "pulumi",
    "pulumi-language-python",
    "pulumi-resource-pulumi-python",
    "pulumi-resource-proxmoxve",
    "pulumi-resource-talos",
    "pulumi-resource-kubernetes",
)
CHANGES = "talosctl"
"""Other tools that the program needs to change a running cluster."""
RESTORES = "etcdutl"
"""Other tools that the rack needs for a cluster that starts from a snapshot."""
CLUSTER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
STAND_INS = Path(__file__).with_name("charts")
CHARTS = Path(os.environ.get("CASTLE_CHARTS") or STAND_INS)
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), str(BUILT)])
"""The folders where programs are looked for."""
HOME = "castle.home.arpa"
"""A name of a site that is known at home only: nobody asks a DNS for it (RFC 8375)."""
PASSPHRASE = "a passphrase of the tests"
LIMIT = 300
"""Seconds that one command of the engine may take before the test ends."""
GRACE = 10
"""Seconds in which the providers of an engine that has ended must end, too."""
RACK_LIMIT = 180
"""Seconds that a rack may take to end: ten for each of its programs, on a machine that is busy."""


def without(*more: str) -> str:
    """Why a test that needs ``more`` than the others cannot run; empty where it can."""
    absent = [name for name in more if shutil.which(name, path=SEARCHED) is None]
    return missing() or (f"not found: {', '.join(absent)}" if absent else "")


def missing() -> str:
    """What is not there, in one line; empty where everything is."""
    absent = [name for name in ENGINE if shutil.which(name) is None]
    absent += [name for name in CLUSTER if shutil.which(name, path=SEARCHED) is None]
    if not CHARTS.is_dir():
        absent.append(f"the folder {CHARTS} (CASTLE_CHARTS)")
    return f"not found: {', '.join(absent)}" if absent else may_not_listen()


def may_not_listen() -> str:
    """Why this user may not listen where MetalLB's webhook does; empty where it may."""
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", PORT))
        except PermissionError:
            first = f"net.ipv4.ip_unprivileged_port_start={PORT}"
            return f"this user may not listen on port {PORT}: sudo sysctl -w {first}"
        except OSError:
            pass  # somebody else listens there; the webhook has an address of its own
    return ""


@dataclass(frozen=True)
class Run:
    """What one command of the engine did."""

    code: int
    output: str
    changes: Counter[str]
    """How many resources it created, updated, deleted ..., those that stay the same left out."""
    steps: list[tuple[str, str]]
    """For a preview: pairs of what would be done and to which resource."""


def on_rack(endpoints: dict[str, str], prefix: str, hosts: Sequence[str]) -> dict[str, Any]:
    """The configuration of the reference homelab, for a rack.

    ``prefix`` are the first three numbers of every address: ``127.0.30``.
    """
    text = (PROJECT_FOLDER / "Pulumi.homelab.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text.replace("192.168.1.", f"{prefix}."))
    config: dict[str, Any] = document["config"]
    config["proxmoxve:endpoint"] = endpoints["endpoint"]
    config["proxmoxve:insecure"] = True
    config["ephemeral-castle:proxmox"]["hosts"] = list(hosts)
    config["ephemeral-castle:image"] = {"factory": endpoints["factory_url"]}
    for chart in ("longhorn", "metallb", "traefik"):
        config[f"ephemeral-castle:{chart}"]["chart_repository"] = str(CHARTS)
    return config


class Lab:
    """The program, a stack file, a state and a rack, all in one folder that goes at the end."""

    def __init__(
        self,
        folder: Path,
        network: int,
        endpoints: dict[str, str],
        stack: str,
        hosts: Sequence[str],
    ) -> None:
        self.folder = folder
        self.stack = stack
        self.endpoints = endpoints
        self._sessions: set[int] = set()
        self._killed: set[int] = set()
        self._said: list[str] = []
        self._hidden: set[str] = {endpoints["api_token"], PASSPHRASE}
        self.prefix = f"127.0.{network}"
        """First three numbers of every address."""
        self.program = folder / stack
        ignored = shutil.ignore_patterns(".git", ".venv", "tests", "docs", ".*")
        shutil.copytree(PROJECT_FOLDER, self.program, ignore=ignored)
        (folder / "state").mkdir(exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        (folder / "runtime").mkdir(exist_ok=True)
        self._write_project()
        self.config = on_rack(endpoints, self.prefix, hosts)
        self._write_stack()
        assert self.pulumi("stack", "init", stack).code == 0

    def _write_project(self) -> None:
        file = self.program / "Pulumi.yaml"
        project = yaml.safe_load(file.read_text(encoding="utf-8"))
        project["runtime"]["options"] = {"virtualenv": sys.prefix, "toolchain": "pip"}
        file.write_text(yaml.safe_dump(project), encoding="utf-8")

    def set(self, path: str, value: Any) -> None:
        """Change a setting, ``nodes.workers.count``, or a whole group."""
        group, *keys = path.split(".")
        if not keys:
            self.config[f"ephemeral-castle:{group}"] = value
            self._write_stack()
            return
        holder = self.config.setdefault(f"ephemeral-castle:{group}", {})
        for key in keys[:-1]:
            holder = holder.setdefault(key, {})
        holder[keys[-1]] = value
        self._write_stack()

    def forget_key(self, path: str) -> None:
        """Remove a setting, ``proxmox.pool``."""
        group, *keys, last = path.split(".")
        holder = self.config[f"ephemeral-castle:{group}"]
        for key in keys:
            holder = holder[key]
        del holder[last]
        self._write_stack()

    def forget(self, group: str) -> None:
        """Take a group of settings out."""
        del self.config[f"ephemeral-castle:{group}"]
        self._write_stack()

    def _write_stack(self) -> None:
        file = self.program / f"Pulumi.{self.stack}.yaml"
        document = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        file.write_text(yaml.safe_dump(document | {"config": self.config}), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """What the engine is started with."""
        return os.environ | {
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PROXMOX_VE_API_TOKEN": self.endpoints["api_token"],
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "PYTHONPATH": str(self.folder / "clock"),
        }

    def set_clock(self, days: int) -> None:
        """Let the program's clock be so many days away from everybody else's."""
        folder = self.folder / "clock"
        folder.mkdir(exist_ok=True)
        text = f"import time\nreal = time.time\ntime.time = lambda: real() + {days * 86400}\n"
        # Python runs a module of this name before any program.
        (folder / "sitecustomize.py").write_text(text, encoding="utf-8")

    def start(self, *arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Start a command of the engine, in a session of its own; ``folder`` has the program."""
        return self._start(["pulumi", *arguments, "--non-interactive"], folder)

    def _start(self, command: list[str], folder: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=folder or self.program,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._sessions.add(process.pid)
        return process

    def close(self) -> None:
        """End what a killed engine left behind: providers outlive it, in its session."""
        for process in self.providers():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def providers(self) -> list[int]:
        """Every process that the engine started and that is still there."""
        return _processes(self._sessions)

    def left_behind(self) -> list[str]:
        """What is still there of engines that came to their end, by its command lines."""
        found = []
        for process in _processes(self._sessions - self._killed):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(process))
        _, alive = psutil.wait_procs(found, timeout=GRACE)
        return [" ".join(process.cmdline()) for process in alive]

    def pulumi(self, *arguments: str) -> Run:
        """Run a command of the engine to its end."""
        return self.finish(self.start(*arguments))

    def make(self, word: str, *more: str, doctor: bool = False) -> Run:
        """Run one of our own words as ``make`` does, and say yes to it.

        The ``doctor`` looks before an ``up`` where a test is about that.
        """
        if word == "down":
            self.learn_secrets()
        return self.finish(self.start_make(word, *more, doctor=doctor))

    def start_make(self, word: str, *more: str, doctor: bool = False) -> subprocess.Popen[str]:
        """Start one of our own words, in a session of its own."""
        command = [sys.executable, "-m", "commands", word, "--stack", self.stack]
        command += [] if doctor else ["--skip-doctor"]
        return self._start([*command, "--", "--yes", "--non-interactive", *more])

    def doctor(self) -> Run:
        """Let the doctor look, as ``make doctor`` does; its output is JSON."""
        command = [sys.executable, "-m", "doctor", "--stack", self.stack, "--json"]
        return self.finish(self._start(command))

    def up_until(self, line: str) -> subprocess.Popen[str]:
        """Begin an ``up``; returns its process, still at work, once it says ``line``."""
        process = self.start("up", "--yes", "--skip-preview", "--stack", self.stack)
        assert process.stdout is not None
        said = []
        with _limited(process):
            for one in process.stdout:
                said.append(one)
                if line in one:
                    break
            else:
                process.wait()
        self._said.append("".join(said))
        assert process.returncode is None, "".join(said)
        return process

    def kill_at(self, line: str) -> None:
        """Begin an ``up``, and kill the engine once it says ``line``."""
        self.kill(self.up_until(line))

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill an engine (kill -9); its providers go on."""
        self._killed.add(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        self.finish(process)

    def finish(self, process: subprocess.Popen[str]) -> Run:
        """Wait for a command of the engine, and remember what it still says."""
        assert process.stdout is not None
        with _limited(process), process.stdout:
            output = process.stdout.read()
            process.wait()
        self._said.append(output)
        return Run(process.returncode, output, _changes(output), [])

    def up(self, *more: str) -> Run:
        """Bring the rack to what the stack file says."""
        return self.pulumi("up", "--yes", "--stack", self.stack, *more)

    def destroy(self) -> Run:
        """Take it all away."""
        self.learn_secrets()
        return self.pulumi("destroy", "--yes", "--stack", self.stack)

    def preview(self) -> Run:
        """What an ``up`` would do."""
        done = self.pulumi("preview", "--json", "--stack", self.stack)
        begin = done.output.find("{\n")
        document, _ = json.JSONDecoder().raw_decode(done.output[begin:]) if begin >= 0 else ({}, 0)
        steps = [
            (step["op"], step["urn"].rpartition("::")[2])
            for step in document.get("steps", [])
            if step["op"] != "same"
        ]
        return Run(done.code, done.output, Counter(op for op, _ in steps), sorted(steps))

    def state(self) -> str:
        """The engine's state, as text."""
        return self.pulumi("stack", "export", "--stack", self.stack).output

    def opened(self, *words: str) -> str:
        """What the engine says when it shall say a secret; it is not among what is swept."""
        said = self.pulumi(*words, "--stack", self.stack).output
        self._said.pop()
        return said

    def kubeconfig(self) -> str:
        """The kubeconfig, which is not among what is swept either."""
        return self.opened("stack", "output", "kubeconfig", "--show-secrets")

    def learn_secrets(self) -> frozenset[str]:
        """Remember every secret that the stack has now, for ``leaks``; returns all so far."""
        with suppress(ValueError):  # nothing yet, or nothing any more
            self._hidden.update(
                secrets_in(json.loads(self.opened("stack", "export", "--show-secrets")))
            )
        return frozenset(self._hidden)

    def leaks(self) -> list[str]:
        """Where a secret of this stack is in plain text: outputs, and files of the lab.

        The Kubernetes provider's own kubeconfigs are left out, which plain ``pulumi`` leaves in
        the temporary folder; ``make`` leaves none (docs/engine.md).
        """
        self.learn_secrets()
        said = "\0".join(self._said)
        found = ["an output" for secret in self._hidden if any(f in said for f in forms(secret))]
        return found + list(map(str, files_with(self._hidden, self.folder, [self.folder / "tmp"])))

    def proxmox(self, method: str, path: str, **form: Any) -> Any:
        """Ask the simulated Proxmox directly, as a person would in its web page."""
        url = self.endpoints["endpoint"].rstrip("/") + "/api2/json" + path
        body = urllib.parse.urlencode(form).encode() if form else None
        token = f"PVEAPIToken={self.endpoints['api_token']}"
        request = urllib.request.Request(url, body, {"Authorization": token}, method=method)
        context = ssl.create_default_context(cafile=self.endpoints["ca_file"])
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return json.load(answer)["data"]

    def control(self, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
        """Take the hand of the rack: faults, requests, a fresh start (rack/control.py)."""
        body = json.dumps(fields).encode() if fields else None
        request = urllib.request.Request(self.endpoints["control_url"] + path, body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def guests(self) -> dict[int, dict[str, Any]]:
        """Every guest on the rack, by its id, as its own host knows it at this moment."""
        return {
            guest["vmid"]: guest | {"node": node["node"]}
            for node in self.proxmox("GET", "/nodes")
            if node["status"] == "online"
            for kind in ("qemu", "lxc")
            for guest in self.proxmox("GET", f"/nodes/{node['node']}/{kind}")
        }

    def kubectl(self, path: str) -> Any:
        """Ask the Kubernetes API for an object or a list."""
        output = self.kubeconfig()
        user = yaml.safe_load(output)["users"][0]["user"]
        cluster = yaml.safe_load(output)["clusters"][0]["cluster"]
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            pair = Path(name) / "pair.pem"
            pair.write_bytes(
                base64.b64decode(user["client-certificate-data"])
                + base64.b64decode(user["client-key-data"])
            )
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            context = ssl.create_default_context(cadata=authority)
            context.load_cert_chain(pair)
        url = cluster["server"] + path
        with urllib.request.urlopen(url, timeout=30, context=context) as answer:
            return json.load(answer)


def _processes(sessions: Set[int]) -> list[int]:
    """The processes of these sessions that are still there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which is in brackets: state, parent, group, session.
            state, _, _, session = entry.read_text().rpartition(")")[2].split()[:4]
            if int(session) in sessions and state != "Z":
                found.append(int(entry.parent.name))
    return found


@contextmanager
def _limited(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a command of the engine that is not done within ``LIMIT``, and say so."""
    limit = threading.Timer(LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    try:
        yield
        assert not limit.finished.is_set(), f"{process.args!r} took more than {LIMIT} s"
    finally:
        limit.cancel()


_WORDS = ("created", "updated", "replaced", "deleted", "unchanged", "errored")


def _changes(output: str) -> Counter[str]:
    """The engine's own summary: what comes after its last ``Resources:``."""
    found: Counter[str] = Counter()
    for line in output.rpartition("Resources:\n")[2].splitlines():
        words = line.replace("+-", " ").strip("+-~ ").split()
        if len(words) >= 2 and words[0].isdigit() and words[-1] in _WORDS:
            found[words[-1]] += int(words[0])
        elif not line.startswith("    "):
            break
    del found["unchanged"]
    return found


@contextmanager
def rack(*hosts: str) -> Iterator[dict[str, str]]:
    """A simulated rack with these hosts, in a process of its own; yields where it answers.

    It ends with us, however we do: we hold the other end of its input.
    """
    flags = [flag for host in hosts for flag in ("--host", host)]
    flags += ["--kubernetes", SEARCHED, "--until-closed"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.rack", *flags],
        cwd=PROJECT_FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        endpoints: dict[str, str] = json.loads(process.stdout.readline())
        yield endpoints
    finally:
        process.terminate()
        try:
            process.communicate(timeout=RACK_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
