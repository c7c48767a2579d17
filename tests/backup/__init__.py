"""Tests of the backup store and of the formats of backups."""
