"""The programs of the rack's control plane, built from pinned Go modules."""
