"""``--json``: documents with just the documented fields, errors as ever, and no other word that is taken for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.fakes_host import Host
from tests.xm.conftest import Xm
from xmcompat import pools, vnets
from xmcompat.backends import host_devices
from xmcompat.backends.devices import PciHostdev, ScsiHostdev
from xmcompat.backends.domain_xml import render
from xmcompat.backends.hypervisor import DomainState, Scheduling
from xmcompat.backends.machine import Accelerator, BlockSource, Bus, DeviceBoot, Disk, Machine, Nic, XenRecord
from xmcompat.network.host import Host as KernelHost
from xmcompat.network.host import Link
from xmcompat.pool_store import Store
from xmcompat.render import json_values
from xmcompat.render.json_fields import FIELDS, TYPES, Field, markdown
from xmcompat.xm.help import usage_text
from xmcompat.xm.options import without_json
from xmcompat.xm.verbs import JSON, VERBS

DOCS = Path(__file__).parents[2] / "docs"
ORCHID = domain("orchid", 3, vcpus=2, cpu_time=12_300_000_000, memory=524288, max_memory=1048576)
BASALT = domain("basalt", None)
SXP = (
    "(vm (name basalt) (device (vbd (uname phy:vg0/b) (dev xvda) (mode w))) (device (vif (bridge xenbr0) (mac 00:16:3e:01:02:03)))"
    " (device (vtpm (instance 1))))"
)
PORTS = " (device (vusb (usb-ver 2) (num-ports 3) (port-1 '') (port-2 1-1.4) (port-3 1-9)))"

#: The words that lead to the document of each row of FIELDS.
COMMANDS = {
    "list": "list", "uptime": "uptime", "domid": "domid orchid", "domname": "domname 3", "domstate": "domstate orchid",
    "vcpu-list": "vcpu-list", "info": "info", "info -c": "info -c", "sched-credit": "sched-credit",
    "block-list": "block-list orchid", "network-list": "network-list orchid", "network2-list": "network2-list orchid",
    "vtpm-list": "vtpm-list orchid", "pci-list": "pci-list orchid",
    "pci-list-assignable-devices": "pci-list-assignable-devices", "scsi-list": "scsi-list orchid",
    "usb-list": "usb-list orchid", "usb-list-assignable-devices": "usb-list-assignable-devices",
    "vnet-list": "vnet-list", "cpupool-list": "cpupool-list",
}  # fmt: skip


@pytest.fixture(autouse=True)
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """This host's devices, and where it keeps its pools."""
    monkeypatch.setattr(pools, "Store", lambda _state: Store(str(tmp_path / "state"), str(tmp_path / "run")))
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    made = Host(tmp_path)
    made.pci("0000:01:00.0", "vfio-pci")
    made.pci("0000:02:00.0", "vfio-pci")
    made.scsi("2:0:0:1", block="sdc", scsi_generic="sg2")
    made.usb("1-1.4", 4, "046d:c077", "Mouse")
    made.usb("1-2", 3, name="")
    return made


@pytest.fixture(autouse=True)
def vnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's network with one vnet."""
    alias = "xmcompat overlay vni=4 bridge=vnet0004 device=vnif0004 vnet=0000:0000:0000:0000:0000:0000:0000:0004"
    link = Link(index=4, name="vnif0004", kind="vxlan", alias=f"{alias} state=up", details={"id": 4, "port": 4789})
    floods = {"vnif0004": ("198.51.100.12",)}
    monkeypatch.setattr(vnets.kernel, "read", lambda tables: KernelHost(links=(link,), floods=floods))


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    monkeypatch.setenv("XEND_CONFIG", "/dev/null")
    host.known = {info.uuid: info for info in (ORCHID, BASALT)}
    host.schedulings = {ORCHID.uuid: Scheduling(2048, 50_000), BASALT.uuid: Scheduling(0, 0)}
    disk = Disk(source=BlockSource(path="/dev/vg0/o"), target="vda", bus=Bus.VIRTIO, vdev="xvda")
    given = (
        PciHostdev(bus=1, slot=0, guest_slot=5),
        ScsiHostdev(host=2, target=0, unit=1, controller=0, guest_target=0, guest_unit=3),
    )
    for info, sxp, hostdevs in ((ORCHID, SXP[:-1] + PORTS + ")", given), (BASALT, SXP, ())):
        machine = Machine(
            name=info.name, uuid=info.uuid, memory=262144, current_memory=262144, vcpus=1, accelerator=Accelerator.TCG,
            boot=DeviceBoot(), disks=(disk,), nics=(Nic(mac="00:16:3e:01:02:03", bridge="xenbr0"),), tpm="2.0",
            record=XenRecord(sxp=sxp), hostdevs=hostdevs, scsi=("virtio-scsi",) if hostdevs else (),
        )  # fmt: skip
        host.xml[info.uuid] = host.records[info.uuid] = render(machine)
    return host


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Paths as in FIELDS, each with what stands there."""
    if isinstance(value, dict) and not path.endswith(("config", "settings")):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def fits(value: object, field: Field) -> bool:
    kind, _, null = field.type.partition(" or ")
    if value is None:
        return null == "null"
    return {
        "text": isinstance(value, str), "integer": type(value) is int, "boolean": type(value) is bool,
        "number": type(value) in (int, float), "object": isinstance(value, dict), "empty list": value == [],
        "list of integers": isinstance(value, list) and all(type(item) is int for item in value),
        "list of texts": isinstance(value, list) and all(isinstance(item, str) for item in value),
    }[kind]  # fmt: skip


def test_every_verb_with_json_has_documented_fields_and_a_command_here() -> None:
    assert {name.split()[0] for name in FIELDS} == JSON <= set(VERBS)
    known = {kind.partition(" or ")[0] for fields in FIELDS.values() for kind in (field.type for field in fields)}
    assert known <= set(TYPES)


@pytest.mark.parametrize("name", FIELDS)
def test_a_document_has_just_the_documented_fields_of_their_types(xm: Xm, name: str) -> None:
    assert name in COMMANDS, "say here how to get it"
    status, out, err = xm(*COMMANDS[name].split(), "--json")
    assert (status, err) == (0, "")
    assert out.isascii()
    assert out.endswith("}\n")
    documented = {field.path: field for field in FIELDS[name]}
    found = list(leaves(json.loads(out)))
    assert {path for path, _ in found} == set(documented)
    assert [(path, value) for path, value in found if not fits(value, documented[path])] == []


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_number_of_something_has_its_unit_in_its_name(name: str) -> None:
    for field in FIELDS[name]:
        last = field.path.rpartition(".")[2]
        if "memory" in last or "time" in last:
            assert last.endswith(("_kib", "_ns", "_seconds")) or last == "uptime_seconds"


def test_the_reference_is_made_of_the_table() -> None:
    assert (DOCS / "reference-json.md").read_text().endswith("\n\n" + markdown())


def test_a_listing(xm: Xm) -> None:
    domains = json.loads(xm("list", "--json").out)["domains"]
    assert [row["name"] for row in domains] == ["Domain-0", "basalt", "orchid"]
    assert domains[1:] == [
        {"name": "basalt", "id": None, "uuid": BASALT.uuid, "state": "shutoff", "letters": None, "memory_kib": 262144,
         "max_memory_kib": 262144, "vcpus": 1, "cpu_time_ns": 0, "managed": True},
        {"name": "orchid", "id": 3, "uuid": ORCHID.uuid, "state": "running", "letters": "r-----", "memory_kib": 524288,
         "max_memory_kib": 1048576, "vcpus": 2, "cpu_time_ns": 12_300_000_000, "managed": False},
    ]  # fmt: skip


def test_what_selects_domains_selects_them_here_too(xm: Xm) -> None:
    def names(*words: str) -> list[str]:
        return [row["name"] for row in json.loads(xm(*words).out)["domains"]]

    assert names("list", "--json", "orchid", "orchid") == ["orchid", "orchid"]
    assert names("list", "--state=halted", "--json") == ["basalt"]
    assert names("list", "--pool=other", "--json") == []
    assert names("uptime", "basalt", "--json") == ["basalt"]
    assert names("vcpu-list", "--json", "3") == ["orchid"]
    assert names("sched-credit", "-d", "orchid", "--json") == ["orchid"]


def test_list_v_is_vcpu_list_here_too(xm: Xm) -> None:
    assert xm("list", "-v", "--json").out == xm("vcpu-list", "--json").out
    assert xm("list", "-v", "--json").err == "xm list -v is deprecated.  Please use xm vcpu-list.\n"


def test_what_xm_prints_as_a_sign_of_nothing_is_null(xm: Xm, guests: FakeHypervisor) -> None:
    guests.schedulings[ORCHID.uuid] = None
    row = json.loads(xm("sched-credit", "--json", "-d", "3").out)["domains"][0]
    assert (row["weight"], row["cap_percent"]) == (None, None)
    assert json.loads(xm("domid", "--json", "basalt").out)["id"] is None
    device = json.loads(xm("block-list", "basalt", "--json").out)["devices"][0]
    assert (device["xenbus_state"], device["vdev"]) == (None, "xvda")
    assert {"uname": "phy:vg0/b", "dev": "xvda", "mode": "w"}.items() <= device["config"].items()


def test_a_state_has_a_word_where_xm_prints_none(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("domstate", "orchid") == (0, "", "")
    assert json.loads(xm("domstate", "orchid", "--json").out)["state"] == "running"
    assert xm("pause", "orchid").status == 0
    said = json.loads(xm("domstate", "--json", "orchid").out)
    assert (said["state"], said["letters"], said["paused_by_admin"]) == ("paused", "--p---", True)


def test_a_domain_without_devices_has_an_empty_list(xm: Xm) -> None:
    assert json.loads(xm("block-list", "--json", "0").out) == {
        "domain": {"name": "Domain-0", "id": 0, "uuid": "00000000-0000-0000-0000-000000000000"}, "devices": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "members"), [("pci-list", "devices"), ("scsi-list", "devices"), ("usb-list", "controllers")]
)
@pytest.mark.parametrize(("name", "domid"), [("0", 0), ("basalt", None)])
def test_a_domain_without_devices_of_the_host_has_an_empty_list(
    xm: Xm, verb: str, members: str, name: str, domid: int | None
) -> None:
    document = json.loads(xm(verb, name, "--json").out)
    assert (document["domain"]["id"], document[members]) == (domid, [])
    assert xm(verb, name) == (0, "", "")


def test_devices_of_the_host(xm: Xm) -> None:
    def said(*words: str) -> list[dict[str, object]]:
        document = json.loads(xm(*words, "--json").out)
        found: list[dict[str, object]] = document.get("devices") or document["controllers"]
        return found

    assert said("pci-list", "3") == [{"address": "0000:01:00.0", "guest_slot": 5, "guest_function": 0}]
    assert said("pci-list-assignable-devices") == [{"address": "0000:02:00.0"}]
    (unit,) = said("scsi-list", "orchid")
    assert (unit["host_place"], unit["guest_place"], unit["xenbus_state"]) == ("2:0:0:1", "0:0:0:3", 4)
    (controller,) = said("usb-list", "orchid")
    assert (controller["number"], controller["usb_version"]) == (0, 2)
    nothing = {"vendor_id": None, "product_id": None, "name": None}
    assert controller["ports"] == [
        {"number": 1, "bus_id": None, **nothing},
        {"number": 2, "bus_id": "1-1.4", "vendor_id": "046d", "product_id": "c077", "name": "Mouse"},
        {"number": 3, "bus_id": "1-9", **nothing},
    ]
    assert said("usb-list-assignable-devices") == [
        {"bus_id": "1-2", "bus": 1, "address": 3, "vendor_id": "0781", "product_id": "5567", "name": None}
    ]


def test_a_host_without_a_driver_for_guests_is_told_apart_from_one_without_devices(
    xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path / "nothing")
    assert json.loads(xm("pci-list-assignable-devices", "--json").out) == {"driver_loaded": False, "devices": []}


def test_pools_and_the_cpus_that_are_in_none(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "fast").write_text("cpus = [3]\nother_config = ['a=1']\n")
    assert xm("cpupool-new", str(tmp_path / "fast"), "name=fast").status == 0
    assert xm("cpupool-cpu-remove", "Pool-0", "3").status == 0
    assert json.loads(xm("info", "--json").out)["free_cpus"] == 1
    first, fast = json.loads(xm("cpupool-list", "--json").out)["pools"]
    assert (first["name"], first["id"], first["cpus"]) == ("Pool-0", 0, [0, 1, 2])
    assert [row["name"] for row in first["domains"]] == ["Domain-0", "orchid"]
    assert [fast[key] for key in ("id", "active", "cpus", "wanted_cpus", "proposed_cpus", "other_config", "domains")] == [
        None, False, [], 1, [3], {"a": "1"}, []
    ]  # fmt: skip
    assert json.loads(xm("cpupool-list", "fast", "--json").out)["pools"] == [fast]
    assert xm("cpupool-list", "nosuch", "--json") == (0, "", "Error: Pool 'nosuch' does not exist.\n")


# -- which words


@pytest.mark.parametrize("words", ["list --json=yes", "list --js", "uptime --j", "info --jso"])
def test_only_the_whole_word_is_taken(xm: Xm, words: str) -> None:
    status, _, err = xm(*words.split())
    assert (status, err) == (1, f"Error: option {words.split()[1].partition('=')[0]} not recognized\n")


def test_after_a_double_dash_it_is_a_name(xm: Xm) -> None:
    assert xm("list", "--", "--json") == (3, "", "Error: Domain '--json' does not exist.\n")


@pytest.mark.parametrize("words", ["pause --json", "destroy --json", "mem-set --json 64"])
def test_verbs_without_it_take_it_for_an_operand(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (3, "", "Error: Domain '--json' does not exist.\n")


@pytest.mark.parametrize("words", ["domid --json", "domid --json a b", "domstate --json", "info --json a b"])
def test_it_is_no_word_that_is_counted(xm: Xm, words: str) -> None:
    plain = words.replace(" --json", "").split()
    assert xm(*words.split()) == xm(*plain)
    assert "requires" in xm(*plain).err


@pytest.mark.parametrize(
    ("words", "other"),
    [("list -l", "long"), ("list --label", "label"), ("uptime -s", "short"), ("block-list -l orchid", "long"),
     ("network-list --long orchid", "long"), ("pci-list -l orchid", "long"), ("scsi-list -l orchid", "long"),
     ("cpupool-list -l", "long"), ("cpupool-list -c", "cpus")],
)  # fmt: skip
def test_with_another_form_it_is_refused(xm: Xm, words: str, other: str) -> None:
    assert xm(*words.split(), "--json") == (
        1, usage_text(words.split()[0]) + "\n",
        f"Error: --json and --{other} are two forms of one answer; choose one\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "words", ["list nosuch", "uptime nosuch", "domid nosuch", "vcpu-list nosuch", "block-list nosuch", "sched-credit -d nosuch",
              "list -x", "list --state=paused orchid", "block-list", "info a b", "pci-list", "pci-list nosuch", "scsi-list nosuch",
              "usb-list nosuch", "usb-list", "usb-list a b", "usb-list --jso a", "cpupool-list a b"]
)  # fmt: skip
def test_errors_stay_as_they_are(xm: Xm, words: str) -> None:
    assert xm(*words.split(), "--json") == xm(*words.split())


def test_setting_a_weight_stays_silent(xm: Xm) -> None:
    assert xm("sched-credit", "-d", "orchid", "-w", "300", "--json") == (0, "", "")


@given(st.lists(st.sampled_from(["--json", "--", "-l", "web", "--jsonx"]), max_size=6))
def test_other_words_are_left_in_their_order(words: list[str]) -> None:
    left, asked = without_json(VERBS["list"], words)
    end = words.index("--") if "--" in words else len(words)
    assert asked == ("--json" in words[:end])
    assert left == [word for word in words[:end] if word != "--json"] + words[end:]
    assert without_json(VERBS["pause"], words) == (words, False)


@given(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name))
def test_any_name_is_ascii_and_comes_back(name: bytes) -> None:
    text = json_values.domain(domain("x")._replace(name=os.fsdecode(name)))
    assert text.isascii()
    assert os.fsencode(json.loads(text)["name"]) == name


def test_states_that_have_no_letters_are_null() -> None:
    assert '"letters": null' in json_values.domains([domain("x", None)])
    assert '"letters": "----c-"' in json_values.domains([domain("x", 1, state=DomainState.CRASHED)])
