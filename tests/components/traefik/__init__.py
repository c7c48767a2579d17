"""Tests of components/traefik."""
