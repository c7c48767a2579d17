"""The pictures of the page, one per file, each in a wide and in a narrow version (for phones)."""
