"""GuestConfig and HostFacts to Machine: what a Xen guest becomes on KVM. Pure."""
