"""Talos machines behind real TLS, as far as the provider talks to them."""
