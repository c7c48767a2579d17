"""The pictures of the page, one a file. Each is drawn twice: wide, and narrow for a phone."""
