"""Settings of xend that reach a guest when it is made."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.host_settings import with_host_settings
from xmcompat.hotplug_script import programs_in
from xmcompat.translate import partitions

FACTS = HostFacts(accelerator=Accelerator.KVM, bridges=("br0", "xenbr2"))
#: Those of whoever may set up the interfaces of guests himself, where no file says anything.
OWN = replace(
    FACTS, ports=True, vif_script="vif-bridge", scripts=programs_in(), composites=partitions.FOLDER,
    boot_folder="/var/lib/xmcompat/boot",
)  # fmt: skip
TEXT = """
(vnc-listen 0.0.0.0)
(vncpasswd 'geheim')
(keymap de)
(vif-script 'vif-bridge bridge=xenbr2')
(enable-dump Yes)
"""


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "xend-config.sxp").write_text(TEXT)
    return {"XEND_CONFIG": str(tmp_path / "xend-config.sxp")}


def test_what_the_file_says_is_taken(environ: dict[str, str]) -> None:
    assert with_host_settings(FACTS, environ) == replace(
        OWN, vif_script="vif-bridge bridge=xenbr2", vnc_listen="0.0.0.0", vnc_password="geheim", keymap="de",
        default_bridge="xenbr2", dump_crashes=True,
    )  # fmt: skip


def test_who_may_not_change_the_network_leaves_interfaces_to_libvirt(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = with_host_settings(FACTS, environ)
    assert (found.ports, found.vif_script, found.default_bridge) == (False, "", "xenbr2")


def test_a_hypervisor_elsewhere_has_settings_of_its_own(environ: dict[str, str]) -> None:
    assert with_host_settings(replace(FACTS, local=False), environ) == replace(FACTS, local=False)


@pytest.mark.parametrize("text", ["", "(enable-dump maybe)"])
def test_a_file_that_says_nothing_changes_nothing(environ: dict[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / "xend-config.sxp").write_text(text)
    assert with_host_settings(FACTS, environ) == OWN


def test_a_file_that_cannot_be_read_changes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "xend-config.sxp").write_text("(vnc-listen")
    assert with_host_settings(FACTS, environ) == replace(OWN, vif_script="")


def test_without_a_file_nothing_changes(tmp_path: Path) -> None:
    assert with_host_settings(FACTS, {"XEND_CONFIG": str(tmp_path / "none")}) == OWN
