"""The place of the xend daemon: what keeps a host ready for xm."""
