"""A simulated rack: the APIs of Proxmox VE, Talos and the image factory on loopback.

The real Pulumi providers talk to it as they would to hardware, so that a program can be applied,
changed and destroyed without any. What goes over the wire follows ``facts/providers.md``.
Deliberately left out: clones, migration, snapshots, containers' own API, HA and firewalls.
"""
