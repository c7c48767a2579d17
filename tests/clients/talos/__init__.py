"""Tests of clients/talos."""
