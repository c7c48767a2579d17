"""Tests of clients/kubernetes."""
