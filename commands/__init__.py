"""What ``make`` runs, one command a file."""
