"""The Talos cluster, and the machine configs of its nodes."""
