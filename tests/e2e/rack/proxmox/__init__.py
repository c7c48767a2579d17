"""The API of a Proxmox VE cluster, as far as the provider uses it."""
