"""The settings of one stack: typed, frozen, and checked before the program changes anything.

``load.py`` turns the stack's configuration into ``models.Settings``, or raises one
``problems.SettingsError`` with all problems. Nothing here needs hardware or network;
``preflight/machines.py`` checks Proxmox (such as whether a VM id is free).

This module imports nothing, because the processes of the dynamic providers import only few modules
of this package, and loading all models would slow them down.
"""
