"""Shows a castle as one HTML page that needs nothing else: `make report`.

What is shown is gathered into ``model.Report``: from the rehearsal, from the record of the last
``up`` and from the engine's state, with its secrets closed. The page and ``--json`` are two views
of that one object.
"""
