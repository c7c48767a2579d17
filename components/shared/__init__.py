"""Kubernetes objects that several components create."""
