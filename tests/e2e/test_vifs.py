"""The host's ends of guests' interfaces, as xm leaves them in the kernel of a node of its own: and nothing of them after."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.e2e.test_concurrency import started
from tests.lab.fixtures import CHECKOUT, destroy_all, xm_command
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.timeout(300)]

MAC = "00:16:3e:00:00:01"
VIF = f"mac={MAC},bridge=xenbr0"


@pytest.fixture(autouse=True)
def _nothing_left(node: PrivateLibvirtd) -> Iterator[None]:
    """What guests have left whose ends no xm has seen, as those that the fixtures end."""
    yield
    destroy_all(node)
    clean = "for one in $(ls /sys/class/net | grep ^ifb); do ip link del $one; done; nft flush ruleset"
    subprocess.run(node.enter(["sh", "-c", clean]), check=True, timeout=20)


def inside(bench: Bench, *words: str) -> str:
    done = subprocess.run(
        bench.node.enter(list(words)), capture_output=True, text=True, check=False, timeout=20, env=os.environ
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def links(bench: Bench) -> dict[str, dict[str, object]]:
    return {link["ifname"]: link for link in json.loads(inside(bench, "ip", "-j", "-d", "link", "show"))}


def filtered(bench: Bench) -> list[str]:
    """The devices that have a filter."""
    return sorted(set(re.findall(r'hook ingress device "?([^" ]+)', inside(bench, "nft", "list", "ruleset"))))


def snapshot(bench: Bench) -> object:
    """What must be as before: links, addresses, routes, nftables, queues."""
    shown = [inside(bench, "ip", *words) for words in (("-4", "addr"), ("-4", "route"), ("neigh", "show", "proxy"))]
    queues = [line for line in inside(bench, "tc", "qdisc").splitlines() if "noqueue" not in line]
    named = {name: (link.get("ifalias"), link.get("altnames"), link.get("master")) for name, link in links(bench).items()}
    return [named, shown[0].count("inet "), *shown[1:], inside(bench, "nft", "list", "ruleset"), queues]


def tap(bench: Bench, place: int = 0) -> str:
    names = [name for name, link in links(bench).items() if link.get("linkinfo", {}).get("info_kind") == "tun"]  # type: ignore[attr-defined]
    return sorted(names)[place]


def test_a_guest_is_held_to_its_address_and_rate_and_leaves_nothing(bench: Bench, pv: Writer) -> None:
    before = snapshot(bench)
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10,rate=10Mb/s"])
    created = bench.xm("create", "-q", "web1.cfg")
    assert (created.stderr, created.status) == ("", 0)
    assert bench.xm("list", "web1").stdout.split()[-2][0] in "rb-"
    name = tap(bench)
    assert filtered(bench) == [name]
    rules = inside(bench, "nft", "list", "ruleset")
    assert "192.0.2.10" in rules and MAC in rules
    assert "tbf" in inside(bench, "tc", "qdisc", "show", "dev", name)
    assert links(bench)[name]["altnames"] == [f"vif{bench.hypervisor.find('web1').domid}.0"]
    assert "<filterref" not in bench.hypervisor.domain_xml(bench.hypervisor.find("web1").uuid)
    assert bench.xm("destroy", "web1").status == 0
    assert snapshot(bench) == before


def test_a_plain_guest_has_xens_name_for_its_interface_and_starts_at_once(bench: Bench, pv: Writer) -> None:
    pv("web1.cfg", vif=[VIF, f"mac={MAC[:-1]}2,bridge=xenbr1,vifname=web-dmz"])
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    domid = bench.hypervisor.find("web1").domid
    named = {name: link.get("altnames") for name, link in links(bench).items() if "tun" in json.dumps(link)}
    assert sorted(named.items(), key=str) == sorted({tap(bench): [f"vif{domid}.0"], "web-dmz": None}.items(), key=str)
    assert filtered(bench) == []


@pytest.mark.parametrize("program", ["ip", "nft", "tc"])
def test_where_a_step_fails_there_is_no_guest_and_the_network_is_as_before(
    bench: Bench, pv: Writer, program: str
) -> None:
    before = snapshot(bench)
    broken = bench.directory / f"bin-{program}"
    broken.mkdir(exist_ok=True)
    real = inside(bench, "sh", "-c", f"command -v {program}").strip()
    script = f"""#!/bin/sh
case "$*" in *-batch*|"-f -") [ -e {broken}/armed ] && {{ echo "Error: no {program} today" >&2; exit 1; }} ;; esac
exec {real} "$@"
"""
    (broken / program).write_text(script)
    (broken / program).chmod(0o755)
    (broken / "armed").touch()
    pv("web1.cfg", vif=[f"mac={MAC[:-1]}0,bridge=xenbr1", f"{VIF},ip=192.0.2.10,rate=10Mb/s"])
    done = bench.xm("create", "-q", "web1.cfg", PATH=f"{broken}:{os.environ['PATH']}")
    (broken / "armed").unlink()
    assert done.status == 1
    assert done.stderr.startswith("Error: Device 1 (vif) could not be connected. "), done.stderr
    assert f"no {program} today" in done.stderr and done.stderr.count("\n") == 1
    assert bench.remains() == ([], [])
    assert snapshot(bench) == before


@pytest.mark.parametrize("after", [False, True], ids=["instead", "after"])
def test_whichever_change_fails_there_is_no_guest_and_the_network_is_as_before(
    bench: Bench, pv: Writer, after: bool
) -> None:
    """The first, the second, ... change by any program fails, INSTEAD of being made or AFTER it was; the naming at the end
    may."""
    counter, broken = bench.directory / "counter", bench.directory / "counting"
    broken.mkdir(exist_ok=True)
    for program in ("ip", "nft", "tc"):
        real = inside(bench, "sh", "-c", f"command -v {program}").strip()
        act = f'{real} "$@"; ' if after else ""
        (broken / program).write_text(f"""#!/bin/sh
case "$*" in -force*) ;; *-batch*|"-f -"|*"addr add"*|*"route add"*)
  left=$(($(cat {counter}) - 1)); echo $left >{counter}
  [ $left -ne 0 ] || {{ {act}echo "Error: no more today" >&2; exit 1; }} ;;
esac
exec {real} "$@"
""")
        (broken / program).chmod(0o755)
    vif = f"mac={MAC[:-1]}2,script=vif-route netdev=xenbr1,ip=198.51.100.50 2001:db8::50,rate=1MB/s"
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10,rate=10Mb/s", vif])
    inside(bench, "ip", "addr", "add", "198.51.100.11/24", "dev", "xenbr1")
    failed = 0
    try:
        before = snapshot(bench)
        while True:
            counter.write_text(f"{failed + 1}\n")
            done = bench.xm("create", "-q", "web1.cfg", PATH=f"{broken}:{os.environ['PATH']}")
            if done.status == 0:
                break
            failed += 1
            assert "(vif) could not be connected. " in done.stderr and "no more today" in done.stderr, done.stderr
            assert snapshot(bench) == before, f"change {failed}"
        assert failed >= 8 and int(counter.read_text()) > 0
        assert bench.xm("destroy", "web1").status == 0
        assert snapshot(bench) == before
    finally:
        inside(bench, "ip", "addr", "del", "198.51.100.11/24", "dev", "xenbr1")


def test_two_at_once_are_both_set_up(bench: Bench, pv: Writer) -> None:
    before = snapshot(bench)
    for number in (1, 2):
        pv(f"web{number}.cfg", vif=[f"mac={MAC[:-1]}{number},bridge=xenbr0,ip=192.0.2.{number}"], disk=[])
    both = [started(bench, "-q", f"web{number}.cfg", verb="create") for number in (1, 2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in both] == [("", 0)] * 2
    rules = inside(bench, "nft", "list", "ruleset")
    assert len(filtered(bench)) == 2 and "192.0.2.1 " in rules and "192.0.2.2 " in rules
    for number in (1, 2):
        assert bench.xm("destroy", f"web{number}").status == 0
    assert snapshot(bench) == before


def test_an_interface_that_is_added_is_held_too_and_its_end_leaves_nothing(bench: Bench, pv: Writer) -> None:
    pv("web1.cfg")
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    before = snapshot(bench)
    domid = bench.hypervisor.find("web1").domid
    attached = bench.xm("network-attach", "web1", f"mac={MAC}", "ip=192.0.2.10", "rate=1MB/s")
    assert attached == ("", "", 0)
    (name,) = filtered(bench)
    assert links(bench)[name]["altnames"] == [f"vif{domid}.1"]
    refused = bench.xm("network-attach", "web1", "ip=192.0.2.300")
    assert refused.status == 1 and "'192.0.2.300' is no IP address" in refused.stderr
    assert filtered(bench) == [name]
    bench.xm("destroy", "web1")
    assert filtered(bench) == []
    assert before is not None


def test_a_known_guest_is_set_up_at_each_start_and_after_a_restore(bench: Bench, pv: Writer) -> None:
    before = snapshot(bench)
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10,rate=10Mb/s"])
    assert bench.xm("new", "-q", "web1.cfg").status == 0
    for _ in range(2):
        assert bench.xm("start", "web1") == ("", "", 0)
        assert len(filtered(bench)) == 1
        assert bench.xm("destroy", "web1").status == 0
        assert snapshot(bench) == before
    assert bench.xm("start", "web1").status == 0
    assert bench.xm("save", "web1", "web1.save").status == 0
    assert snapshot(bench) == before
    restored = bench.xm("restore", "web1.save")
    assert (restored.stderr, restored.status) == ("", 0)
    assert len(filtered(bench)) == 1
    assert bench.xm("suspend", "web1") == ("", "", 0)
    assert snapshot(bench) == before
    assert bench.xm("resume", "web1") == ("", "", 0)
    assert len(filtered(bench)) == 1
    bench.xm("destroy", "web1")


def test_a_routed_guest_has_its_route_and_the_hosts_address(bench: Bench, pv: Writer) -> None:
    inside(bench, "ip", "addr", "add", "198.51.100.11/24", "dev", "xenbr1")
    try:
        before = snapshot(bench)
        pv("web1.cfg", vif=[f"mac={MAC},script=vif-route netdev=xenbr1,ip=198.51.100.50"])
        created = bench.xm("create", "-q", "web1.cfg")
        assert (created.stderr, created.status) == ("", 0)
        name = tap(bench)
        assert links(bench)[name].get("master") is None
        assert f"198.51.100.50 dev {name}" in inside(bench, "ip", "route")
        assert "198.51.100.11/32" in inside(bench, "ip", "-4", "addr", "show", "dev", name)
        assert inside(bench, "cat", f"/proc/sys/net/ipv4/conf/{name}/proxy_arp") == "1\n"
        assert filtered(bench) == [name]
        assert bench.xm("destroy", "web1").status == 0
        assert snapshot(bench) == before
        pv("web2.cfg", vif=[f"mac={MAC},script=vif-route netdev=nocard,ip=198.51.100.50"])
        refused = bench.xm("create", "-q", "web2.cfg")
        assert refused.status == 1 and refused.stderr.startswith("Error: Device 0 (vif) could not be connected. ")
        assert bench.remains() == ([], []) and snapshot(bench) == before
    finally:
        inside(bench, "ip", "addr", "del", "198.51.100.11/24", "dev", "xenbr1")


def test_guests_on_a_bridge_that_holds_them_are_held(bench: Bench, pv: Writer) -> None:
    inside(bench, "ip", "link", "set", "dev", "xenbr1", "alias", "xmcompat bridge antispoof=yes state=up")
    try:
        pv("web1.cfg", vif=[f"mac={MAC},bridge=xenbr1"])
        assert bench.xm("create", "-q", "web1.cfg").status == 0
        assert f"ether saddr != {MAC} drop" in inside(bench, "nft", "list", "ruleset")
        assert bench.xm("destroy", "web1").status == 0
        assert filtered(bench) == []
    finally:
        inside(bench, "ip", "link", "set", "dev", "xenbr1", "alias", "")


NAT = """
import sys
from xmcompat.network import dhcp, host, nat, steps
from xmcompat.network.wanted import Nat
wanted, now = Nat(uplink="xenbr1", network="10.64.0.0/16"), host.read()
steps.take(nat.up(wanted, now, dhcp.Names()) if sys.argv[1] == "up" else nat.down(wanted, now))
"""


def test_a_guest_behind_nat_gets_its_address_by_dhcp(bench: Bench, pv: Writer) -> None:
    python = ["env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-c", NAT]
    pv("web1.cfg", vif=[f"mac={MAC},script=vif-nat,ip=10.64.3.1", f"mac={MAC[:-1]}2,script=vif-nat"])
    refused = bench.xm("create", "-q", "web1.cfg")
    assert refused.stderr == (
        "Error: Device 0 (vif) could not be connected. No network-nat is up on this host, which vif-nat needs\n"
    )
    inside(bench, *python, "up")
    try:
        before = snapshot(bench)
        created = bench.xm("create", "-q", "web1.cfg")
        assert (created.stderr, created.status) == ("", 0)
        hosts = inside(bench, "sh", "-c", "cat /run/xmcompat/dhcp/*/hosts/* 2>/dev/null || cat $(find /run -name hosts)/*")
        first, second = sorted(hosts.splitlines())
        assert first.startswith(f"{MAC},10.64.3.1,web1,")
        assert second.split(",")[0].endswith("2") and second.split(",")[2] == "web1-2"
        assert links(bench)[tap(bench)]["master"] == "xennat0"
        assert f"ip saddr != {second.split(',')[1]} " in inside(bench, "nft", "list", "ruleset")
        assert "10.64.3.128/32" in inside(bench, "ip", "-4", "addr", "show", "dev", "xennat0")
        assert bench.xm("destroy", "web1").status == 0
        assert snapshot(bench) == before
        assert inside(bench, "sh", "-c", "find /run -path '*/hosts/*' -type f") == ""
    finally:
        inside(bench, *python, "down")


# -- guests that others start, and ends that nobody has asked for

XEND = """
import sys
from xmcompat.toolstack import Toolstack
from xmcompat.xend.interfaces import Interfaces
from xmcompat.xend.keeper import Keeper
with Toolstack.open() as toolstack:
    interfaces = Interfaces(toolstack, lambda level, text: print(level, text, flush=True))
    keeper = Keeper(toolstack, print, on_change=interfaces.on_event)
    ended = []
    toolstack.hypervisor.watch_input(0, lambda: ended.append(1))
    keeper.watch()
    interfaces.catch_up()
    print("ready", flush=True)
    while not ended:
        toolstack.hypervisor.wait_event(1.0)
"""


@pytest.fixture
def xend(bench: Bench) -> Iterator[subprocess.Popen[str]]:
    """What xend does for interfaces, in the node; its lines are on stdout."""
    words = ["env", f"PYTHONPATH={CHECKOUT}", f"XMCOMPAT_URI={bench.node.uri}", sys.executable, "-c", XEND]
    with subprocess.Popen(bench.node.enter(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def said(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def settled(bench: Bench, before: object) -> object:
    """The first snapshot that is as BEFORE, else the last of a minute: xend takes away one thing after the other."""
    deadline = time.monotonic() + 60
    while (found := snapshot(bench)) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_a_guest_that_somebody_else_starts_is_set_up_by_xend(
    bench: Bench, pv: Writer, xend: subprocess.Popen[str]
) -> None:
    said(xend, "ready")
    before = snapshot(bench)
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10,rate=10Mb/s"], disk=[])
    assert bench.xm("new", "-q", "web1.cfg").status == 0
    uuid = bench.hypervisor.find("web1").uuid
    bench.hypervisor.start_again(uuid)
    said(xend, f"INFO Domain web1 ({bench.hypervisor.find('web1').domid}): vif 0 set up.")
    assert filtered(bench) == [tap(bench)]
    bench.hypervisor.halt(uuid)
    assert settled(bench, before) == before
    assert bench.xm("start", "web1").status == 0  # which xend leaves alone
    assert bench.xm("destroy", "web1").status == 0
    bench.hypervisor.start_again(uuid)
    said(xend, f"INFO Domain web1 ({bench.hypervisor.find('web1').domid}): vif 0 set up.")


def test_without_xend_repair_does_so(bench: Bench, pv: Writer) -> None:
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10"], disk=[])
    assert bench.xm("new", "-q", "web1.cfg").status == 0
    bench.hypervisor.start_again(bench.hypervisor.find("web1").uuid)
    words = ["env", f"PYTHONPATH={CHECKOUT}", f"XMCOMPAT_URI={bench.node.uri}", sys.executable, "-m", "xmcompat.tool"]
    assert inside(bench, *words, "network", "repair") == "web1: vif 0 is set up\n"
    assert filtered(bench) == [tap(bench)]
    assert inside(bench, *words, "network", "repair") == ""
    bench.hypervisor.destroy(bench.hypervisor.find("web1").uuid)
    assert inside(bench, *words, "network", "repair") == "" and filtered(bench) == []


def test_one_whose_create_was_cut_off_is_set_up_before_it_goes_on(bench: Bench, pv: Writer) -> None:
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10"], disk=[])
    assert bench.xm("new", "-q", "web1.cfg").status == 0
    uuid = bench.hypervisor.find("web1").uuid
    bench.hypervisor.start_again(uuid, paused=True)
    assert filtered(bench) == []
    assert bench.xm("unpause", "web1") == ("", "", 0)
    assert filtered(bench) == [tap(bench)]


def test_what_a_killed_guest_has_left_goes_with_the_next_one(bench: Bench, pv: Writer) -> None:
    before = snapshot(bench)
    for number in (1, 2):
        pv(f"web{number}.cfg", vif=[f"mac={MAC[:-1]}{number},bridge=xenbr0,ip=192.0.2.{number},rate=1MB/s"], disk=[])
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    bench.hypervisor.destroy(bench.hypervisor.find("web1").uuid)
    assert bench.xm("create", "-q", "web2.cfg").status == 0
    assert filtered(bench) == [tap(bench)]
    assert "192.0.2.1 " not in inside(bench, "nft", "list", "ruleset")
    assert bench.xm("destroy", "web2").status == 0
    assert snapshot(bench) == before


# -- scripts of the user's own


class Scripts:
    """A folder of scripts, and the settings that name it."""

    def __init__(self, bench: Bench) -> None:
        self.folder = bench.directory / "scripts"
        self.folder.mkdir(exist_ok=True)
        settings = bench.config("xmcompat.toml", f'script_folder = "{self.folder}"\n')
        xend = bench.config("xend-config.sxp", f"(device-create-timeout 2)(logfile {bench.directory}/xend.log)\n")
        self.env = {"XMCOMPAT_CONFIG": str(settings), "XEND_CONFIG": str(xend)}

    def write(self, name: str, body: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}")
        path.chmod(0o755)
        return path


RECORDING = """
exec >>{log} 2>&1
echo "$# $*"
echo "PATH=$XENBUS_PATH vif=$vif script=$script"
for key in mac ip bridge script handle domain frontend-id vifname rate; do
  echo "$key=$(xenstore-read "$XENBUS_PATH/$key" 2>/dev/null)"
done
xenstore-write "$XENBUS_PATH/hotplug-status" connected
[ "$4" = offline ] || cat "/sys/class/net/$vif/address"
"""


def test_a_script_of_ones_own_is_called_as_xen_calls_it(bench: Bench, pv: Writer) -> None:
    scripts, log = Scripts(bench), bench.directory / "calls"
    script = scripts.write("vif-mine", RECORDING.format(log=log))
    pv("web1.cfg", vif=[f"{VIF},ip=192.0.2.10 192.0.2.11,rate=10Mb/s,script=vif-mine first zone=dmz"])
    created = bench.xm("create", "-q", "web1.cfg", **scripts.env)
    assert (created.stderr, created.status) == ("", 0)
    domid, name = bench.hypervisor.find("web1").domid, tap(bench)
    assert links(bench)[name]["master"] == "xenbr0"
    told = [
        "4 first zone=dmz online type_if=vif", f"PATH=backend/vif/{domid}/0 vif={name} script={script}", f"mac={MAC}",
        "ip=192.0.2.10 192.0.2.11", "bridge=xenbr0", f"script={script}", "handle=0", "domain=web1", f"frontend-id={domid}",
        "vifname=", "rate=62500,50000",
    ]  # fmt: skip
    assert log.read_text().splitlines() == [*told, f"fe{MAC[2:]}"]
    log.unlink()
    assert bench.xm("destroy", "web1", **scripts.env).status == 0
    assert log.read_text().splitlines()[:2] == ["4 first zone=dmz offline type_if=vif", told[1]]
    assert bench.remains() == ([], [])


def test_a_script_without_a_bridge_has_a_tap_of_its_own(bench: Bench, pv: Writer) -> None:
    scripts = Scripts(bench)
    scripts.write("vif-mine", 'ip addr add 203.0.113.1/32 dev "$vif"\n')
    pv("web1.cfg", vif=[f"mac={MAC},script={scripts.folder}/vif-mine"])
    created = bench.xm("create", "-q", "web1.cfg", **scripts.env)
    assert (created.stderr, created.status) == ("", 0)
    assert "203.0.113.1/32" in inside(bench, "ip", "-4", "addr", "show", "dev", tap(bench))
    assert links(bench)[tap(bench)].get("master") is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("echo 'no such zone' >&2; exit 3", "no such zone; {script} ended with status 3"),
        ('xenstore-write "$XENBUS_PATH/hotplug-error" "Could not find bridge device br9"\n'
         'xenstore-write "$XENBUS_PATH/hotplug-status" error; exit 1',
         "Could not find bridge device br9; {script} ended with status 1"),
        ("exit 1", "Backend device not found.; {script} ended with status 1"),
        ("sleep 60 & sleep 61", "Hotplug scripts not working.; {script} did not end within 2 s; see {log}"),
    ],
)  # fmt: skip
def test_a_script_that_fails_leaves_no_guest(bench: Bench, pv: Writer, body: str, line: str) -> None:
    before, scripts = snapshot(bench), Scripts(bench)
    script = scripts.write("vif-mine", f'[ "$1" = offline ] && exit 0\n{body}\n')
    pv("web1.cfg", vif=[f"mac={MAC[:-1]}0,bridge=xenbr0,ip=192.0.2.1", f"{VIF},script=vif-mine"])
    begun = time.monotonic()
    done = bench.xm("create", "-q", "web1.cfg", **scripts.env)
    assert done.stderr == f"Error: Device 1 (vif) could not be connected. {line.format(script=script, log=bench.directory / 'xen-hotplug.log')}\n"
    assert done.status == 1 and time.monotonic() - begun < 20
    assert bench.remains() == ([], []) and snapshot(bench) == before
    assert "sleep" not in inside(bench, "ps", "-eo", "args")


def test_an_interface_that_cannot_be_connected_is_on_no_network(bench: Bench, pv: Writer) -> None:
    scripts = Scripts(bench)
    scripts.write("vif-mine", "exit 1\n")
    pv("web1.cfg", vif=[])
    assert bench.xm("create", "-q", "web1.cfg", **scripts.env).status == 0
    done = bench.xm("network-attach", "web1", f"mac={MAC}", "bridge=xenbr0", "script=vif-mine", **scripts.env)
    assert done.status == 1
    assert done.stderr.startswith("Error: Device 0 (vif) could not be connected. Backend device not found.; ")
    left = [link for link in links(bench).values() if "tun" in json.dumps(link)]
    assert all("UP" not in link["flags"] for link in left)  # type: ignore[operator]  # QEMU of a guest without a system keeps it
    assert filtered(bench) == []


def test_a_script_that_is_not_to_be_trusted_is_refused_before_anything_begins(bench: Bench, pv: Writer) -> None:
    scripts = Scripts(bench)
    outside = bench.config("vif-out", "#!/bin/sh\n")
    outside.chmod(0o755)
    (scripts.folder / "vif-link").unlink(missing_ok=True)
    (scripts.folder / "vif-link").symlink_to(outside)
    open_to_all = scripts.write("vif-open", "exit 0\n")
    open_to_all.chmod(0o777)
    folder = scripts.folder
    for name, said in (
        (str(outside), f"The script {outside} is not run: only those in {folder} are; put it into {folder}"),
        ("../vif-out", f"The script ../vif-out is not run: only those in {folder} are; put it into {folder}"),
        ("vif-link", f"The script vif-link is not run: only those in {folder} are; put it into {folder}"),
        ("vif-open", f"{open_to_all} is not trusted: others than root may write it; try: chown root {open_to_all}; "
         f"chmod go-w {open_to_all}"),
        ("vif-none", f"The script {folder}/vif-none cannot be run: No such file or directory"),
    ):  # fmt: skip
        pv("web1.cfg", vif=[f"{VIF},script={name}"])
        done = bench.xm("create", "-q", "web1.cfg", **scripts.env)
        assert (done.stderr, done.status) == (f"Error: Device 0 (vif) could not be connected. {said}\n", 1)
    assert bench.remains() == ([], [])


BROKEN_OFF = """
import sys
from xmcompat.config.load import find_config, load
from xmcompat.toolstack import Toolstack

def attend(_created):
    raise KeyboardInterrupt

verb, name = sys.argv[1:]
with Toolstack.open() as xen:
    try:
        if verb == "create":
            xen.create(load(find_config(name)), attend=attend)
        elif verb == "start":
            xen.managed.start(name, attend=attend)
        else:
            xen.saving.restore(name, attend=attend)
    except KeyboardInterrupt:
        print("broken off")
"""


@pytest.mark.parametrize("verb", ["create", "start", "restore"])
def test_a_start_that_is_broken_off_once_the_interfaces_are_connected_leaves_nothing_of_them(
    bench: Bench, pv: Writer, verb: str
) -> None:
    before, scripts, log = snapshot(bench), Scripts(bench), bench.directory / "calls"
    scripts.write("vif-mine", f'echo "$1" >>{log}\n')
    vifs = [f"{VIF},ip=192.0.2.1,rate=1MB/s", f"mac={MAC[:-1]}2,bridge=xenbr1,script=vif-mine"]
    pv("web1.cfg", vif=vifs, disk=[])
    if verb == "start":
        assert bench.xm("new", "-q", "web1.cfg").status == 0
    if verb == "restore":
        assert bench.xm("create", "-q", "web1.cfg", **scripts.env).status == 0
        assert bench.xm("save", "web1", "web1.save", **scripts.env).status == 0
    log.write_text("")
    settings = {"PYTHONPATH": str(CHECKOUT), "XMCOMPAT_URI": bench.node.uri, "XMCOMPAT_ACCELERATOR": "tcg", **scripts.env}
    words = ["env", *(f"{key}={value}" for key, value in settings.items()), sys.executable, "-c", BROKEN_OFF, verb]
    place = {"create": "web1.cfg", "start": "web1", "restore": "web1.save"}[verb]
    assert inside(bench, "sh", "-c", 'cd "$0" && exec "$@"', str(bench.directory), *words, place) == "broken off\n"
    assert snapshot(bench) == before
    assert log.read_text().split() == ["online", "offline"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_a_script_works_leaves_no_guest(bench: Bench, pv: Writer, number: signal.Signals) -> None:
    before, scripts, log = snapshot(bench), Scripts(bench), bench.directory / "calls"
    log.write_text("")
    scripts.write("vif-mine", f'echo "$1" >>{log}; [ "$1" = offline ] || sleep 60\n')
    pv("web1.cfg", vif=[f"mac={MAC[:-1]}0,bridge=xenbr0,ip=192.0.2.1,rate=1MB/s", f"{VIF},script=vif-mine"], disk=[])
    env = {"XMCOMPAT_ACCELERATOR": "tcg", **scripts.env, "XEND_CONFIG": "/none"}
    argv = xm_command(bench.node, "create", "-q", "web1.cfg", cwd=bench.directory, env=env)
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 20
        while log.read_text() != "online\n" and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, number)
        assert (process.communicate(timeout=20)[1], process.returncode) == ("", -number)
    assert bench.remains() == ([], []) and snapshot(bench) == before
    assert log.read_text() == "online\noffline\n"
    assert "sleep" not in inside(bench, "ps", "-eo", "args")


def test_a_guest_does_not_run_while_an_interface_more_is_without_its_filter(bench: Bench, pv: Writer) -> None:
    watched, states = bench.directory / "watched", bench.directory / "states"
    watched.mkdir(exist_ok=True)
    real = inside(bench, "sh", "-c", "command -v nft").strip()
    (watched / "nft").write_text(f"""#!/bin/sh
virsh -c '{bench.node.uri}' domstate web1 >>{states}
[ ! -e {watched}/broken ] || {{ echo "Error: no nft today" >&2; exit 1; }}
[ ! -e {watched}/slow ] || sleep 1
exec {real} "$@"
""")
    (watched / "nft").chmod(0o755)
    path = f"{watched}:{os.environ['PATH']}"
    pv("web1.cfg", vif=[])
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    assert bench.xm("network-attach", "web1", f"mac={MAC}", "bridge=xenbr0", "ip=192.0.2.1", PATH=path) == ("", "", 0)
    assert set(states.read_text().split()) == {"paused"}
    assert bench.hypervisor.find("web1").state == "running"
    (watched / "broken").touch()
    assert bench.xm("network-attach", "web1", f"mac={MAC[:-1]}2", "ip=192.0.2.2", PATH=path).status == 1
    assert bench.hypervisor.find("web1").state == "running"
    (watched / "broken").unlink()
    (watched / "slow").touch()
    for digit, number in ((4, signal.SIGTERM), (5, signal.SIGINT)):
        argv = xm_command(bench.node, "network-attach", "web1", f"mac={MAC[:-1]}{digit}", "ip=192.0.2.4", env={"PATH": path})
        states.write_text("")
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            while not states.read_text():
                assert process.poll() is None
                time.sleep(0.02)
            os.killpg(process.pid, number)
            process.communicate(timeout=30)
        assert process.returncode == -number
        assert bench.hypervisor.find("web1").state == "running"
    (watched / "slow").unlink()
    assert bench.xm("pause", "web1").status == 0
    assert bench.xm("network-attach", "web1", f"mac={MAC[:-1]}8", "ip=192.0.2.8", PATH=path) == ("", "", 0)
    assert bench.hypervisor.find("web1").state == "paused"


def test_a_second_guest_of_one_mac_address_is_told(bench: Bench, pv: Writer) -> None:
    pv("web1.cfg", vif=[VIF])
    pv("web2.cfg", vif=["mac=00:16:3e:00:00:02,bridge=xenbr0", f"mac={MAC.upper()},bridge=xenbr0"], disk=[])
    assert bench.xm("create", "-q", "web1.cfg") == ("", "", 0)
    said = bench.xm("create", "-q", "web2.cfg")
    sentence = (
        "Warning: vif 1 has the MAC address 00:16:3e:00:00:01 of 'web1' on the bridge 'xenbr0': frames for either reach one of "
        "them; give it another one\n"
    )
    assert said == ("", sentence, 0)
    pv("web3.cfg", vif=[], disk=[])
    assert bench.xm("create", "-q", "web3.cfg") == ("", "", 0)
    said = bench.xm("network-attach", "web3", "mac=00:16:3e:00:00:02", "bridge=xenbr0")
    assert said.status == 0
    assert "vif 0 has the MAC address 00:16:3e:00:00:02 of 'web2' on the bridge 'xenbr0'" in said.stderr


def test_a_tap_that_only_the_guests_own_qemu_still_holds_is_nobodys_mac_twin(bench: Bench, pv: Writer) -> None:
    """As a libvirtd leaves it that is killed while it plugs a vif in."""
    pv("web1.cfg", vif=[], disk=[])
    assert bench.xm("create", "-q", "web1.cfg") == ("", "", 0)
    script = """
        exec 7<>/dev/net/tun
        python3 -c 'import fcntl, struct; fcntl.ioctl(7, 0x400454ca, struct.pack("16sH22x", b"left0", 0x1002))'
        ip link set dev left0 address fe:16:3e:00:00:01 master xenbr0 up
        virsh -q qemu-monitor-command --pass-fds 7 web1 '{"execute": "getfd", "arguments": {"fdname": "left"}}'
    """
    subprocess.run(bench.node.enter(["sh", "-e", "-c", script]), check=True, timeout=30, stdout=subprocess.DEVNULL)
    assert bench.xm("network-attach", "web1", f"mac={MAC}", "bridge=xenbr0") == ("", "", 0)
    pv("web2.cfg", vif=[VIF], disk=[])
    said = bench.xm("create", "-q", "web2.cfg")
    assert (said.status, said.stderr.count(f"has the MAC address {MAC} of ")) == (0, 2), "another guest's twins are told"
