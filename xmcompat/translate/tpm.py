"""The virtual TPM. Pure."""

from __future__ import annotations

from xmcompat.guest import GuestConfig
from xmcompat.translate.findings import Findings

#: Of Xen's vTPM, and of the one that libvirt emulates in its place.
VERSION = "1.2"


def tpm(guest: GuestConfig, findings: Findings) -> str:
    """The version of the TPM, "" for none. A guest has one; the first counts, as with xend."""
    if not guest.tpms:
        return ""
    findings.approximated(
        "vtpm", "it is a new, empty TPM: keys and sealed secrets in Xen's are lost to the guest, and what is encrypted "
        "with them cannot be opened",
        suggestion="recover such secrets on Xen first; this host needs swtpm",
    )  # fmt: skip
    for index in range(1, len(guest.tpms)):
        findings.approximated(f"vtpm[{index}]", "left out: a guest has one TPM")
    return VERSION
