"""What the search and its tests do with bytes: read them, translate the guests, write them in every form."""

from __future__ import annotations

from contextlib import suppress

from xmcompat.backends.domain_xml import render
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.config.json_form import guest_document
from xmcompat.config.read import offline_host, read
from xmcompat.config.to_xl import xl_values
from xmcompat.config.to_xm import xm_values
from xmcompat.config.write_cfg import print_cfg
from xmcompat.config.write_xl import print_xl
from xmcompat.errors import PythonSyntax, XmError
from xmcompat.guest import Dialect, GuestConfig
from xmcompat.translate.machine import missing_macs, translate

HOST = HostFacts(accelerator=Accelerator.KVM, memory=8 << 20, cpus=4, bridges=("xenbr0",), local=False)
_DIALECTS = {"xm": Dialect.XM, "xl": Dialect.XL, "sxp": Dialect.SXP, "any": None}


def read_all(reader: str, data: bytes) -> int:
    """Read DATA; how many guests it holds. An XmError is an answer, and has one line; all else is a mistake."""
    try:
        documents = read(data, "fuzz.cfg", dialect=_DIALECTS[reader], host=offline_host())
    except XmError as error:
        assert "\n" not in error.line() or isinstance(error, PythonSyntax)
        return 0
    for document in documents:
        for note in document.notes:
            assert note.key
            assert "\n" not in note.text(), note
        use(document.guest)
    return len(documents)


def use(guest: GuestConfig) -> None:
    """All that is done with a guest offline."""
    with suppress(XmError):
        render(translate(guest, HOST, macs=["00:16:3e:00:00:01"] * missing_macs(guest)).machine)
    with suppress(XmError):
        print_xl(xl_values(guest)[0])
    with suppress(XmError):
        print_cfg(xm_values(guest)[0])
    with suppress(XmError):
        guest_document(guest)
