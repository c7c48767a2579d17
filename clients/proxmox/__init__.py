"""The Proxmox VE API, and the guests (VMs and containers) that it lists."""
