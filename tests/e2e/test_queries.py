"""What xm shows of a domain that runs."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Bench, Writer
from xmcompat.config.sxp import children, parse, value

pytestmark = pytest.mark.libvirt


def test_the_long_listing_shows_the_configuration_as_it_was_written(bench: Bench, pv: Writer) -> None:
    pv(vif=["bridge=xenbr0,mac=00:16:3E:01:02:03"], extra="quiet", description="a web server")
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    form = parse(bench.xm("list", "-l", "web1").stdout)[0]
    assert isinstance(form, list)
    assert form[0] == "domain"
    assert value(form, "name") == "web1"
    assert value(form, "status") == "2"
    assert value(form, "description") == "a web server"
    image = value(form, "image")
    assert isinstance(image, list)
    assert value(image, "args") == "root=/dev/xvda2 ro quiet"
    devices = [device[1] for device in children(form, "device")]
    disks = [device for device in devices if isinstance(device, list) and device[0] == "vbd"]
    assert [value(disk, "dev") for disk in disks] == ["xvda2:disk"]
    nics = [device for device in devices if isinstance(device, list) and device[0] == "vif"]
    assert [value(nic, "mac") for nic in nics] == ["00:16:3E:01:02:03"]


def test_uptime_counts_from_the_start_and_a_paused_create_stays_paused(bench: Bench, pv: Writer) -> None:
    pv()
    assert bench.xm("create", "-p", "-q", "web1.cfg").status == 0
    row = bench.xm("list", "web1").stdout.splitlines()[1].split()
    assert row[4] == "--p---"
    words = bench.xm("uptime", "web1").stdout.splitlines()[1].split()
    assert words[0] == "web1"
    assert words[2].startswith("0:00:")


def test_a_domain_of_virsh_is_shown_and_a_configuration_of_xm_is_in_its_metadata(bench: Bench, pv: Writer) -> None:
    pv()
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    info = bench.hypervisor.find("web1")
    text = bench.hypervisor.metadata(info.uuid)
    assert text is not None
    assert f'source="{bench.directory}/web1.cfg"' in text.replace("'", '"')
    assert "(name web1)" in text
