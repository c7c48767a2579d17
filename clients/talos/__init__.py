"""The Talos API, talosctl, and the credentials that both take."""
