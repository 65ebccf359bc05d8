"""Passwords of disks, kept by libvirt. They go over its socket alone: no argument, log or XML has them."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from xmcompat.backends.libvirt_translated import Translated

_NO_SECRET = 66
#: libvirt's numbers of usages, and the element that has the name.
_USAGES = {"ceph": (2, "name"), "iscsi": (3, "target")}


class LibvirtSecrets:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

    def keep_secret(self, kind: str, name: str, value: bytes, *, lasting: bool, readable: bool = False) -> None:
        """Keep VALUE, in place of what it was. One that is not READABLE is told to QEMU alone."""
        with self._translated():
            old = self._secret_of(kind, name)
            if old is not None and ("private='yes'" in old.XMLDesc(0)) == readable:
                self._undefine_secret(old)  # libvirt changes no other way
                old = None
            self._define_secret(kind, name, old, lasting=lasting, readable=readable).setValue(value, 0)

    def let_secrets_last(self, beginning: str) -> None:
        """Keep all whose names begin so beyond the end of the daemon."""
        kinds = {number: kind for kind, (number, _) in _USAGES.items()}
        with self._translated():
            for secret in self._connection.listAllSecrets(self._libvirt.VIR_CONNECT_LIST_SECRETS_EPHEMERAL):
                if secret.usageID().startswith(beginning) and secret.usageType() in kinds:
                    readable = "private='yes'" not in secret.XMLDesc(0)
                    kind = kinds[secret.usageType()]
                    self._define_secret(kind, secret.usageID(), secret, lasting=True, readable=readable)

    def _define_secret(self, kind: str, name: str, old: Any, *, lasting: bool, readable: bool) -> Any:
        """The secret, in place of OLD, whose value it has then."""
        from xml.sax.saxutils import escape

        ephemeral, private = "no" if lasting else "yes", "no" if readable else "yes"
        uuid = f"<uuid>{old.UUIDString()}</uuid>" if old is not None else ""
        element = _USAGES[kind][1]
        return self._connection.secretDefineXML(
            f"<secret ephemeral='{ephemeral}' private='{private}'>{uuid}<description>a disk of a guest</description>"
            f"<usage type='{kind}'><{element}>{escape(name)}</{element}></usage></secret>", 0
        )  # fmt: skip

    def _secret_of(self, kind: str, name: str) -> Any:
        try:
            return self._connection.secretLookupByUsage(_USAGES[kind][0], name)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != _NO_SECRET:
                raise
            return None

    def secret(self, kind: str, name: str) -> bytes | None:
        """The value, b"" for one that is not told; None where there is none."""
        with self._translated():
            secret = self._secret_of(kind, name)
            if secret is None or "private='yes'" in secret.XMLDesc(0):
                return None if secret is None else b""
            try:
                return bytes(secret.value(0))
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != _NO_SECRET:
                    raise
                return None

    def secret_names(self, beginning: str) -> list[str]:
        with self._translated():
            names = [secret.usageID() for secret in self._connection.listAllSecrets(0)]
        return [name for name in names if name.startswith(beginning)]

    def forget_secret(self, name: str) -> None:
        """Silent where there is none."""
        with self._translated():
            for secret in self._connection.listAllSecrets(0):
                if secret.usageID() == name:
                    self._undefine_secret(secret)

    def _undefine_secret(self, secret: Any) -> None:
        try:
            secret.undefine()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != _NO_SECRET:  # another has been quicker
                raise
