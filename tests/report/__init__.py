"""The report: what it shows, how it is drawn, and what a browser makes of it."""
