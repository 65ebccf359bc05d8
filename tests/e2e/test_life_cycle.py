"""What follows the end of a guest, through xm: one that stays in the list, dumps of crashes, and restarts of a real Linux."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.backends.test_libvirt_kept import keeper_process
from tests.backends.test_libvirt_lifecycle import eventually
from tests.e2e.conftest import Bench, Writer
from tests.e2e.test_linux_guest import console, log_in
from xmcompat.backends import domain_xml
from xmcompat.tour.guest import build_guest, xen_config

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]


def test_a_guest_that_is_preserved_leaves_nothing_when_it_is_destroyed(bench: Bench, pv: Writer) -> None:
    pv(on_poweroff="preserve")
    created = bench.xm("create", "web1.cfg")
    assert created.status == 0
    assert "stays in the list until xm destroy" in created.stderr
    row = bench.xm("list", "web1").stdout.splitlines()[1].split()
    again = bench.xm("create", "web1.cfg")
    assert (again.stderr.splitlines()[-1], again.status) == (f"Error: Domain 'web1' already exists with ID '{row[1]}'", 1)
    assert bench.xm("destroy", "web1") == ("", "", 0)
    assert bench.remains() == ([], [])
    assert bench.hypervisor._connection.listAllDomains() == []


def test_one_that_cannot_start_leaves_nothing(bench: Bench, pv: Writer) -> None:
    pv(on_poweroff="preserve", vif=["bridge=nosuch"])
    assert bench.xm("create", "web1.cfg").status == 1
    assert bench.hypervisor._connection.listAllDomains() == []


def test_xends_enable_dump_dumps_each_crash(bench: Bench, pv: Writer) -> None:
    settings = bench.config("xend-config.sxp", "(enable-dump yes)\n")
    pv("dumped.cfg", on_crash="destroy")
    assert bench.xm("create", "-q", "-p", "dumped.cfg", XEND_CONFIG=str(settings)).status == 0
    xml = bench.hypervisor.domain_xml(bench.hypervisor.find("dumped").uuid)
    assert domain_xml.parse(xml).on_crash == "coredump-destroy"
    assert "(on_crash destroy)" in bench.xm("list", "-l", "dumped").stdout
    assert bench.xm("destroy", "dumped").status == 0


def test_a_linux_guest_restarts_and_stays_after_its_end(bench: Bench, lab_directory: Path) -> None:
    files = build_guest(lab_directory / "life", name="linux1")
    text = xen_config(files, name="linux1", mac="00:16:3e:11:22:33", bridge="xenbr0")
    bench.config("linux1.cfg", text.replace("on_poweroff = 'destroy'", "on_poweroff = 'preserve'"))
    with console(bench, "create", "-c", "linux1.cfg") as terminal:
        log_in(terminal)
        first = bench.hypervisor.find("linux1")
        _started(bench, first.uuid, ago=100)
        with keeper_process(bench.node):
            terminal.send(b"reboot\n")
            eventually(lambda: bench.hypervisor.find("linux1").domid != first.domid, 60)
            eventually(lambda: (bench.hypervisor.marks(first.uuid)[0] or (None, None))[1] not in (None, first.domid), 60)
    second = bench.hypervisor.find("linux1")
    assert second.uuid == first.uuid
    with console(bench, "console", "linux1") as terminal:
        log_in(terminal)
        terminal.send(b"poweroff\n")
        terminal.wait(60)
    eventually(lambda: bench.xm("list", "linux1").stdout.split()[-2] == "---s--")
    assert bench.xm("domid", "linux1").stdout == f"{second.domid}\n"
    assert bench.xm("block-list", "linux1").stdout.splitlines()[1].split()[:3] == ["51714", "0", "0"]
    assert bench.xm("destroy", "linux1") == ("", "", 0)
    assert bench.remains() == ([], [])


def _started(bench: Bench, uuid: str, *, ago: float) -> None:
    """Have xm believe that the domain was started AGO seconds ago."""
    record = domain_xml.read_record(bench.hypervisor.metadata(uuid) or "")
    assert record is not None
    bench.hypervisor.set_metadata(uuid, domain_xml.render_record(record._replace(started=time.time() - ago)))
