"""The guided first run: a Debian kernel, a small root file system, a Xen config, and xm."""
