"""Tests of the report: its data, its pictures, and the page as a file and in a browser."""
