"""A simulated rack: the APIs of Proxmox VE, Talos and the image factory on loopback.

The real Pulumi providers talk to it as they would to hardware, so tests can apply, change and
destroy a stack without hardware. Requests and answers are those of the real APIs. Not included:
clones, migration, snapshots, containers' own API, HA and firewalls.
"""
