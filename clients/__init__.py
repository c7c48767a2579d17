"""One client for each API that the program talks to, and what their answers mean."""
