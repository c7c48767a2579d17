"""What the real tools say; skipped where they are not on PATH."""
