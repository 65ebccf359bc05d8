"""What libvirt does to a guest besides letting it run: reset, rename, keys, NMI, dump; and what it tells of its host."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.backends.settings import is_local
from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from xmcompat.backends.hypervisor import NodeInfo
    from xmcompat.backends.libvirt_translated import Translated

#: Our element in the metadata of a domain that ``xm pause`` has paused.
PAUSE_URI = "urn:xmcompat:pause:1"

#: Milliseconds for which keys are held.
_HOLD = 100
_NO_METADATA = 80


class LibvirtActs:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    uri: str

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

    def _raise_unless_local(self, what: str) -> None:
        if not is_local(self.uri):
            raise HypervisorError(f"{what} can only be had on the host itself, not through {self.uri}")

    # -- guests

    def mark_paused(self, uuid: str, paused: bool) -> None:
        """Note in the domain's metadata, for as long as it runs, that somebody has paused it, or no longer."""
        libvirt = self._libvirt
        mark = "<pause by='admin'/>" if paused else None
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.setMetadata(
                    libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark, "xmpause", PAUSE_URI, libvirt.VIR_DOMAIN_AFFECT_LIVE
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() != _NO_METADATA:
                    raise

    def marked_paused(self, uuid: str) -> bool:
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, PAUSE_URI, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except libvirt.libvirtError as error:
                if error.get_error_code() != _NO_METADATA:
                    raise
                return False
        return True

    def reset(self, uuid: str) -> None:
        """Press the reset button. One that is paused stays so."""
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).reset(0)

    def rename(self, uuid: str, name: str) -> None:
        """Give a domain that is off another name."""
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).rename(name, 0)

    def send_keys(self, uuid: str, codes: Sequence[int]) -> None:
        """Press keys at once on the guest's keyboard, by Linux's numbers, and let them go."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.sendKey(self._libvirt.VIR_KEYCODE_SET_LINUX, _HOLD, list(codes), len(codes), 0)

    def inject_nmi(self, uuid: str) -> None:
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).injectNMI(0)

    def wake(self, uuid: str) -> None:
        """Wake one that sleeps (S3). Silent for one that does not."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
                domain.pMWakeup(0)

    def dump_core(self, uuid: str, path: str, *, live: bool = False) -> None:
        """Write its memory as an ELF core to the file PATH of libvirt's host; without LIVE it is paused meanwhile."""
        libvirt = self._libvirt
        flags = libvirt.VIR_DUMP_MEMORY_ONLY | (libvirt.VIR_DUMP_LIVE if live else 0)
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.coreDumpWithFormat(path, libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, flags)

    # -- the host

    def node(self) -> NodeInfo:
        """The machine. Of another one than this, only what libvirt knows: counts, memory and clock."""
        if is_local(self.uri):
            from xmcompat.backends.local_node import node_info

            return node_info()
        from xmcompat.backends.hypervisor import NodeInfo

        connection = self._connection
        with self._translated():
            machine, mebibytes, cpus, mhz, nodes, _, cores, threads = connection.getInfo()
            memory = connection.getMemoryStats(-1)
            free = memory.get("free", 0) + memory.get("buffers", 0) + memory.get("cached", 0)
            return NodeInfo(
                hostname=connection.getHostname(), release="", version="", machine=machine, cpus=cpus, nodes=nodes,
                cores_per_socket=cores, threads_per_core=threads, mhz=mhz, hw_caps=(0,) * 8, virtualises=True,
                directs_io=False, memory=memory.get("total", mebibytes * 1024), free=free, places=(), command_line="",
                build="",
            )  # fmt: skip

    def kernel_log(self, *, clear: bool = False) -> str:
        """The messages of this host's kernel, which is the hypervisor; CLEAR forgets them afterwards."""
        self._raise_unless_local("the kernel's messages")
        from xmcompat.backends.local_log import kernel_log

        return kernel_log(clear=clear)

    def daemon_log(self) -> str:
        """The log of libvirt's daemon."""
        self._raise_unless_local("libvirt's log")
        from xmcompat.backends.local_log import daemon_log

        return daemon_log()
