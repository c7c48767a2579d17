"""Tests of components/talos."""
