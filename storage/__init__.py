"""The host's disks."""
