"""What the program checks before it changes anything."""
