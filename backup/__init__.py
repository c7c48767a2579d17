"""The backup store (a folder or an S3 bucket), and the formats of the backups."""
