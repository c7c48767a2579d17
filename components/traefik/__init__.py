"""Traefik, its ACME resolver, and the restore of its certificates."""
