"""Where guests run: the Hypervisor protocol, the Machine it runs, and libvirt behind it."""
