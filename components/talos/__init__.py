"""The component ``TalosCluster`` and the machine configs of its nodes."""
