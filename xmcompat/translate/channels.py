"""Channels between guest and host, and folders of the host for the guest. Pure."""

from __future__ import annotations

from xmcompat.backends.devices import Filesystem, GuestChannel
from xmcompat.guest import GuestConfig
from xmcompat.translate.findings import Findings

_TYPES = {"pty": "pty", "socket": "unix"}
#: QEMU's security models by libvirt's words.
_MODES = {
    "none": "squash", "passthrough": "passthrough", "mapped": "mapped", "mapped-xattr": "mapped",
    "mapped-file": "mapped",
}  # fmt: skip
#: Bytes that the protocol has for it.
_LONGEST_TAG = 31


def channels(guest: GuestConfig, findings: Findings) -> tuple[GuestChannel, ...]:
    """A channel of virtio's for each of Xen's."""
    found = []
    for index, channel in enumerate(guest.channels):
        key, shown = f"channel[{index}]", f"name={channel.name},connection={channel.connection}"
        findings.back_end(key, channel.backend, value=shown)
        if not channel.name:
            findings.refuse(key, "a channel needs a name", value=shown)
        if channel.connection == "socket" and not channel.path.startswith("/"):
            findings.refuse(key, "a socket needs an absolute path", value=f"{shown},path={channel.path}")
        findings.approximated(
            key, f"the guest opens it as /dev/virtio-ports/{channel.name}, not as a console of Xen's", value=shown
        )
        path = channel.path if channel.connection == "socket" else ""
        found.append(GuestChannel(name=channel.name, type=_TYPES.get(channel.connection, "pty"), path=path))
    return tuple(found)


def folders(guest: GuestConfig, findings: Findings) -> tuple[Filesystem, ...]:
    """The folders, which the guest mounts over virtio."""
    found = []
    for index, folder in enumerate(guest.folders):
        key, shown = f"p9[{index}]", f"tag={folder.tag},path={folder.path}"
        findings.back_end(key, folder.backend, value=shown)
        if not 0 < len(folder.tag.encode()) <= _LONGEST_TAG:
            findings.refuse(key, f"a tag has 1 to {_LONGEST_TAG} characters", value=shown)
        if not folder.path.startswith("/"):
            findings.refuse(key, "a folder needs an absolute path", value=shown)
        mode = _MODES.get(folder.security_model)
        if mode is None:
            findings.refuse(
                key, "that is no security model; write none", value=f"{shown},security_model={folder.security_model}"
            )
        findings.approximated(
            key, f"the guest mounts it with 'mount -t 9p -o trans=virtio {folder.tag}', not trans=xen", value=shown
        )
        found.append(Filesystem(tag=folder.tag, path=folder.path, accessmode=mode or "squash"))
    return tuple(found)
