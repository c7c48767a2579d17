"""The Talos API, talosctl, and the credentials for both."""
