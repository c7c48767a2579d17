"""The Pulumi components; ``__main__.py`` creates and connects them. No component imports another.

Two rules hold in all of them:

- A name that the program chooses (a namespace, the storage class) is passed as plain text, and the
  dependency as ``depends_on``. An output becomes unknown with any update of its resource; an input
  that cannot change in place (the storage class of a claim) would then preview as a replacement.
- Every Kubernetes resource has ``custom_timeouts``. Otherwise the next ``up`` waits ten minutes for
  a Deployment that was not ready at the last refresh.
"""
