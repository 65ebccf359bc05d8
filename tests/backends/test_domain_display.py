"""Where a display listens, read from libvirt's XML."""

from __future__ import annotations

import pytest

from xmcompat.backends.domain_display import VncServer, vnc_server


@pytest.mark.parametrize(
    ("graphics", "server"),
    [
        ("", None),
        ("<graphics type='spice' port='5900'/>", None),
        ("<graphics type='vnc' port='5901' autoport='yes' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/>"
         "</graphics>", VncServer("127.0.0.1", 5901, None)),
        ("<graphics type='vnc' port='-1' autoport='yes'/>", VncServer("", None, None)),
        ("<graphics type='vnc' autoport='yes'/>", VncServer("", None, None)),
        ("<graphics type='vnc' port='5900' passwd='p'><listen type='network' network='n' address='192.0.2.1'/></graphics>",
         VncServer("192.0.2.1", 5900, "p")),
        ("<graphics type='vnc'><listen type='socket' socket='/s'/></graphics>", None),
        ("<graphics type='vnc' socket='/s'/><graphics type='vnc' port='5907'/>", VncServer("", 5907, None)),
    ],
)  # fmt: skip
def test_the_vnc_server_of_a_domain(graphics: str, server: VncServer | None) -> None:
    assert vnc_server(f"<domain><devices>{graphics}</devices></domain>") == server
