"""The commands that ``make`` runs (``python -m commands COMMAND``)."""
