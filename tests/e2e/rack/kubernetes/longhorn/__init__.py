"""A stand-in for Longhorn: its class and volumes, nodes and disks, replicas, engines and backups.

It follows longhorn-manager v1.12.1 in what the API shows; no data is kept in several places, and
no engine runs. Everything is recomputed from the API's objects at each step. A step reads them
once, so that one part may see what another did in this step only in the next one.

Left out: snapshots, single backups and restores, expansion of volumes, volumes that several nodes
write to, node and disk tags, the second data engine, and the admission webhook.
"""
