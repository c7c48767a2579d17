"""One component a file; none imports another, ``__main__.py`` alone knows their order.

Two habits hold in all of them, because previews showed what happens without:

- A name that we choose ourselves (a namespace, the storage class) is handed on as plain text, and
  the wait for it as ``depends_on``. As an output it goes unknown whenever its resource has any
  update, and what cannot change in place (a claim's storage class) then previews as replaced.
- Every wait has a time limit of its own. Without one a Deployment that was unready at the last
  refresh is awaited for ten minutes by the next ``up``.
"""
