"""Tests of clients/proxmox."""
