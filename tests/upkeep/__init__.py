"""Upkeep: what is done to nodes that live, without a rack."""
