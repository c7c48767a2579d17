"""``make e2e-tools``: build what the rack runs of Kubernetes, from the modules that go.mod pins.

Nothing is built that is there already in the pinned version: Go knows what has changed. The rest of
what the end-to-end tests need, Pulumi and its providers, is not built here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
"""What is built, and of which package."""
MODULE = Path(__file__).parent
FOLDER = Path(__file__).parents[3] / ".e2e-tools" / "bin"
"""Where it goes; git ignores it."""
_VERSIONS = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


def main() -> int:
    """Build all programs, one after the other, and return Go's exit code."""
    go = shutil.which("go")
    if go is None:
        print("Go is needed to build them; see tests/e2e/tools/go.mod.", file=sys.stderr)
        return 1
    # Go itself says what it has against go.mod.
    asked = _run([go, "list", "-mod=readonly", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"])
    if asked.returncode:
        return asked.returncode
    FOLDER.mkdir(parents=True, exist_ok=True)
    linker = _linker_flags(asked.stdout.strip())
    flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={linker}"]
    for name, package in PACKAGES.items():
        print(f"Building {name} ...", flush=True)
        done = _run([go, "build", *flags, "-o", str(FOLDER / name), package])
        if done.returncode:
            return done.returncode
    print(f"Built into {FOLDER.parent.name}/{FOLDER.name}.")
    return 0


def _linker_flags(version: str) -> str:
    """Flags by which the programs know their release: without, charts take them for an old one."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(
        f"-X {package}.{name}={value}" for package in _VERSIONS for name, value in told.items()
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    return subprocess.run(
        command, cwd=MODULE, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
