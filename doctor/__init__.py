"""Looks before the first change: will this castle stand on these hosts, in this network?

``make doctor`` runs it, and so does ``make up``. It reads and asks, and never changes anything.
Each check is one file or one function; ``examine.py`` runs them side by side, ``probes.py`` holds
all that reaches out. It knows nothing of the engine's state: what is ours bears our tag.
"""
