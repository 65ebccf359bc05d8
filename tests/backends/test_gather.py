"""The facts of a host: asked once, only what is needed, and none of another host's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from xmcompat.backends import cgroups
from xmcompat.backends import gather as gathering
from xmcompat.backends.gather import gather
from xmcompat.backends.hypervisor import HostInfo
from xmcompat.backends.machine import Accelerator
from xmcompat.backends.settings import Settings
from xmcompat.errors import ConfigError, HypervisorUnreachable

TCG = {"XMCOMPAT_ACCELERATOR": "tcg"}


class Asked(FakeHypervisor):
    """Counts the question for bridges."""

    bridge_questions = 0

    def bridges(self) -> list[str]:
        self.bridge_questions += 1
        return super().bridges()


def test_memory_cpus_and_bridges_are_the_hypervisors() -> None:
    hypervisor = FakeHypervisor(host_info=HostInfo("h", 4194304, 3, 0), host_bridges=["xenbr1", "eth0"])
    facts = gather(hypervisor, environ=TCG, settings=Settings())
    assert (facts.memory, facts.cpus, facts.bridges) == (4194304, 3, ("xenbr1", "eth0"))


def test_bridges_are_not_asked_for_a_guest_without_interfaces() -> None:
    hypervisor = Asked()
    assert gather(hypervisor, environ=TCG, settings=Settings(), bridges=False).bridges == ()
    assert hypervisor.bridge_questions == 0


def test_the_bridges_that_stand_for_others_are_the_settings() -> None:
    settings = Settings(bridge_aliases=(("xenbr0", "br0"),))
    assert gather(FakeHypervisor(), environ=TCG, settings=settings).bridge_aliases == (("xenbr0", "br0"),)


def test_the_switches_of_this_host_are_asked_for_a_guest_with_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "switches_here", lambda: ["ovsbr0"])
    for uri, bridges, found in (
        ("qemu:///system", True, ("ovsbr0",)), ("qemu:///system", False, ()), ("qemu+ssh://h/system", True, ()),
    ):  # fmt: skip
        facts = gather(FakeHypervisor(uri=uri), environ=TCG, settings=Settings(), bridges=bridges)
        assert facts.openvswitch == found


def test_ones_own_choice_needs_no_reason() -> None:
    facts = gather(FakeHypervisor(), environ=TCG, settings=Settings())
    assert (facts.accelerator, facts.accelerator_reason) == (Accelerator.TCG, "")


def test_the_settings_file_of_the_environment_is_read(tmp_path: Path) -> None:
    path = tmp_path / "xmcompat.toml"
    path.write_text('accelerator = "kvm"\n')
    facts = gather(FakeHypervisor(), environ={"XMCOMPAT_CONFIG": str(path)})
    assert facts.accelerator is Accelerator.KVM
    path.write_text('accelerator = "xen"\n')
    with pytest.raises(ConfigError):
        gather(FakeHypervisor(), environ={"XMCOMPAT_CONFIG": str(path)})


def test_another_host_is_believed_and_has_no_cgroups_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "CGROUP_V2_SIGN", "/proc/self/status")
    remote = FakeHypervisor(uri="qemu+ssh://dom0.example/system")
    facts = gather(remote, environ={}, settings=Settings())
    assert (facts.local, facts.cgroup_v2) == (False, False)
    assert facts.accelerator is (Accelerator.KVM if remote.supports_kvm() else Accelerator.TCG)


def test_the_cgroup_version_of_this_host_is_told_by_its_root(monkeypatch: pytest.MonkeyPatch) -> None:
    local = FakeHypervisor(uri="qemu:///system")
    for sign, expected in (("/proc/self/status", True), ("/proc/no-such-file", False)):
        monkeypatch.setattr(cgroups, "CGROUP_V2_SIGN", sign)
        facts = gather(local, environ=TCG, settings=Settings())
        assert (facts.local, facts.cgroup_v2) == (True, expected)
    monkeypatch.undo()
    with open("/proc/self/mountinfo", encoding="ascii") as file:
        mounts = [line.split() for line in file]
    unified = any(fields[4] == "/sys/fs/cgroup" and "cgroup2" in fields for fields in mounts)
    assert cgroups.has_cgroup_v2() == unified


def test_a_connection_that_is_lost_while_asking_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: object) -> HostInfo:
        raise HypervisorUnreachable("gone")

    monkeypatch.setattr(FakeHypervisor, "host", lost)
    with pytest.raises(HypervisorUnreachable):
        gather(FakeHypervisor(), environ=TCG, settings=Settings())


def test_nothing_of_the_process_environment_is_read_but_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "XMCOMPAT_ACCELERATOR", "nonsense")
    assert gather(FakeHypervisor(), environ=TCG, settings=Settings()).accelerator is Accelerator.TCG
