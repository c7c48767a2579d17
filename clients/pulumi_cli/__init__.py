"""The Pulumi CLI: how it is found and run, and how the state that it writes is read."""
