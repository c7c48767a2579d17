"""The report of a stack as one self-contained HTML page: ``make report``.

``gather.py`` builds a ``model.Report`` from the rehearsal, the record of the last ``up`` and the
Pulumi state, without decrypting secrets. The page and ``--json`` show that object.
"""
