"""Clients of the Kubernetes API, and readers of Flux, Helm and Longhorn objects."""
