"""Text to GuestConfig, and back: every format in which people keep Xen guests."""
