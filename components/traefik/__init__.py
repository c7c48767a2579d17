"""The Traefik component, and the backup format of its certificates."""
