"""A real Linux guest under TCG that is managed: it is suspended and goes on with what it had in its memory."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Bench
from tests.e2e.test_linux_guest import ask, console, log_in
from xmcompat.tour.guest import build_guest, xen_config

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]


def test_a_suspended_guest_goes_on_where_it_was(bench: Bench) -> None:
    files = build_guest(bench.directory / "managed", name="linux1")
    bench.config("linux1.cfg", xen_config(files, name="linux1", mac="00:16:3e:11:22:33", bridge="xenbr0"))
    assert bench.xm("new", "-q", "linux1.cfg") == ("", "", 0)
    assert bench.xm("domid", "linux1").stdout == "None\n"
    with console(bench, "start", "-c", "linux1") as terminal:
        log_in(terminal)
        ask(terminal, b"KEPT=in-the-shell")
    assert bench.xm("suspend", "linux1") == ("", "", 0)
    assert bench.xm("domid", "linux1").stdout == "None\n"
    assert bench.xm("list", "--state=suspended").stdout.splitlines()[1].split()[0] == "linux1"
    assert bench.xm("resume", "linux1") == ("", "", 0)
    with console(bench, "console", "linux1") as terminal:
        assert b"it is in-the-shell" in ask(terminal, b"echo it is $KEPT")
    assert bench.xm("destroy", "linux1") == ("", "", 0)
    assert bench.xm("delete", "linux1") == ("", "", 0)
    assert bench.xm("domid", "linux1").status == 3
