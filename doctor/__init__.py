"""Check whether a stack can be deployed on its Proxmox hosts and in its network (read-only).

``make doctor`` and ``make up`` run the checks. ``examine.py`` lists them; ``probes.py`` lists all
network access.
"""
