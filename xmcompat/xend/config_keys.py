"""The table of all keys of ``xend-config.sxp``: type, default, and what each one means for a host with KVM."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from xmcompat.notes import Fate


class XendType(Enum):
    TEXT = "text"
    NUMBER = "number"
    BOOL = "yes or no"
    LIST = "list"


class XendKey(NamedTuple):
    """``default`` is what xend 4.1 takes where the file says nothing, as text."""

    name: str
    type: XendType
    default: str
    fate: Fate
    meaning: str


_TEXT, _NUMBER, _BOOL, _LIST = XendType.TEXT, XendType.NUMBER, XendType.BOOL, XendType.LIST
_SAME, _NEAR, _NONE = Fate.CARRIED, Fate.APPROXIMATED, Fate.NO_MEANING

_ROWS: tuple[tuple[str, XendType, str, Fate, str], ...] = (
    # networks
    ("network-script", _TEXT, "", _NEAR, "makes the host's networks when xend starts; see xmcompat network"),
    ("vif-script", _TEXT, "vif-bridge", _SAME, "for interfaces that name no script; xm does what Xen's own do"),
    # relocation
    ("xend-relocation-server", _BOOL, "no", _NEAR, "guests come in clear, where allow_tcp in xmcompat.toml says so, too"),
    ("xend-relocation-port", _NUMBER, "8002", _NEAR, "xend's port for that; memory comes at QEMU's, 49152 to 49215"),
    ("xend-relocation-address", _TEXT, "", _SAME, "the address, or the link, at which xend is open for guests"),
    ("xend-relocation-hosts-allow", _TEXT, "", _NEAR, "which hosts may send guests, each matched whole; none is guessed"),
    ("xend-relocation-ssl-server", _BOOL, "no", _NEAR, "guests come from hosts with certificates of migrate setup"),
    ("xend-relocation-ssl-port", _NUMBER, "8003", _NEAR, "xend's port for that; memory comes at QEMU's, 49152 to 49215"),
    ("xend-relocation-server-ssl-key-file", _TEXT, "", _SAME, "xend's key, in the place of the one that setup has made"),
    ("xend-relocation-server-ssl-cert-file", _TEXT, "", _SAME, "xend's certificate, in the place of that of setup"),
    ("xend-relocation-ssl", _BOOL, "no", _SAME, "whether guests go by TLS, and by no other way, unless told otherwise"),
    ("external-migration-tool", _TEXT, "", _NONE, "moved the state of TPMs; libvirt moves that of its own"),
    # the host itself
    ("dom0-min-mem", _NUMBER, "0", _NEAR, "MiB to keep for the host: leave as much free when guests are placed"),
    ("enable-dom0-ballooning", _BOOL, "yes with dom0-min-mem", _NEAR, "Linux gives guests memory as they touch it"),
    ("dom0-cpus", _NUMBER, "0", _NEAR, "host and guests share all CPUs; AllowedCPUs= of systemd's slices divides them"),
    ("total_available_memory", _NUMBER, "0", _NONE, "memory kept for 32-bit guests: KVM needs none"),
    # displays
    ("vnc-listen", _TEXT, "127.0.0.1", _SAME, "where displays listen that name no address"),
    ("vncpasswd", _TEXT, "", _SAME, "the password of displays without their own"),
    ("vnc-tls", _BOOL, "0", _NEAR, "vnc_tls in qemu.conf"),
    ("vnc-x509-cert-dir", _TEXT, "/etc/xen/vnc", _NEAR, "vnc_tls_x509_cert_dir in qemu.conf; QEMU's user must read it"),
    ("vnc-x509-verify", _BOOL, "0", _NEAR, "vnc_tls_x509_verify in qemu.conf"),
    ("keymap", _TEXT, "", _SAME, "the keyboard of displays that name none"),
    # devices
    ("pci-passthrough-strict-check", _BOOL, "yes", _NEAR, "relaxed_acs_check in qemu.conf is its opposite"),
    ("pscsi-device-mask", _LIST, "('*')", _NONE, "which SCSI devices guests could be given; each guest names its own"),
    # servers
    ("xen-api-server", _LIST, "((unix))", _NONE, "nothing here speaks the Xen API"),
    ("xend-http-server", _BOOL, "no", _NONE, "nothing here speaks xend's HTTP"),
    ("xend-unix-server", _BOOL, "no", _NONE, "libvirt's sockets are always there"),
    ("xend-unix-path", _TEXT, "/var/lib/xend/xend-socket", _NONE, "libvirt's sockets are in /run/libvirt"),
    ("xend-tcp-xmlrpc-server", _BOOL, "no", _NONE, "other hosts reach libvirt by ssh or TLS"),
    ("xend-tcp-xmlrpc-server-address", _TEXT, "localhost", _NONE, "listen_addr in libvirtd.conf"),
    ("xend-tcp-xmlrpc-server-port", _NUMBER, "8006", _NONE, "tls_port in libvirtd.conf"),
    ("xend-tcp-xmlrpc-server-ssl-key-file", _TEXT, "", _NONE, "key_file in libvirtd.conf"),
    ("xend-tcp-xmlrpc-server-ssl-cert-file", _TEXT, "", _NONE, "cert_file in libvirtd.conf"),
    ("xend-unix-xmlrpc-server", _BOOL, "yes", _NONE, "libvirt's sockets are always there"),
    ("xend-port", _NUMBER, "8000", _NONE, "the port of xend's HTTP"),
    ("xend-address", _TEXT, "", _NONE, "the address of xend's HTTP"),
    ("xend-udev-event-server", _BOOL, "no", _NONE, "libvirt sees devices come and go itself"),
    ("xsm_module_name", _TEXT, "dummy", _NONE, "Xen's security module; libvirt has security_driver in qemu.conf"),
    ("xend-security-path", _TEXT, "/var/lib/xend/security", _NONE, "Xen's security labels do not exist"),
    ("resource-label-change-script", _TEXT, "", _NONE, "Xen's security labels do not exist"),
    # logs, places, times
    ("logfile", _TEXT, "/var/log/xen/xend.log", _SAME, "xend's own log; guests log to /var/log/libvirt/qemu"),
    ("loglevel", _TEXT, "DEBUG", _SAME, "what xend logs; libvirtd has log_level in libvirtd.conf"),
    ("xend-domains-path", _TEXT, "/var/lib/xend/domains", _NONE, "where managed guests are; libvirt's: /etc/libvirt/qemu"),
    ("xend-state-path", _TEXT, "/var/lib/xend/state", _NONE, "libvirt keeps its state in /var/lib/libvirt"),
    ("xend-storage-path", _TEXT, "/var/lib/xend/storage", _NONE, "libvirt's storage pools have places of their own"),
    ("device-create-timeout", _NUMBER, "100", _NEAR, "seconds that scripts of interfaces may take"),
    ("device-destroy-timeout", _NUMBER, "100", _SAME, "seconds that xm block-detach and network-detach wait for the guest"),
    ("qemu-dm-logrotate-count", _NUMBER, "10", _NONE, "max_backups in virtlogd.conf"),
    ("console-limit", _NUMBER, "1024", _NONE, "KiB kept of each console: libvirt keeps none unless told to log it"),
    ("enable-dump", _BOOL, "no", _SAME, "whether every guest that crashes is dumped, to auto_dump_path of qemu.conf"),
)  # fmt: skip

XEND_KEYS: Mapping[str, XendKey] = {row[0]: XendKey(*row) for row in _ROWS}


def markdown_table() -> str:
    """The table of ``docs/howto-xend.md``."""
    lines = ["| key | type | default | on KVM |", "| --- | --- | --- | --- |"]
    for key in XEND_KEYS.values():
        default = f"`{key.default}`" if key.default else ""
        lines.append(f"| `{key.name}` | {key.type.value} | {default} | {key.fate.value}: {key.meaning} |")
    return "\n".join(lines)
