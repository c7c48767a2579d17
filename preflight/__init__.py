"""What the program reads and checks before it changes anything."""
