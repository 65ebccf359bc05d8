"""xmcompat: the Xen toolstack dialect for guests that run on libvirt and KVM."""

__version__ = "0.1.0"
