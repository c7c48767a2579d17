"""Each component on its own: what reaches a provider."""
