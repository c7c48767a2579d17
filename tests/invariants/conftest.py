"""Shared rehearsals of the reference stack."""

from __future__ import annotations

from tests.rehearsal.conftest import gitops as gitops
from tests.rehearsal.conftest import homelab as homelab
from tests.rehearsal.conftest import host_network as host_network
from tests.rehearsal.conftest import recording as recording
