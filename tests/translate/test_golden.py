"""Configurations as users have them, and what libvirt is told: ``tests/golden/domain_xml``, one small case a file.

Beside each NAME.cfg are NAME.xml and NAME.notes. ``pytest --update-golden`` writes both anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.config.load import load
from xmcompat.translate.machine import Translation, missing_macs, translate

CASES = sorted((Path(__file__).parents[1] / "golden" / "domain_xml").glob("*.cfg"))
assert len(CASES) >= 25, "golden cases are missing"

SCHEMA = "/usr/share/libvirt/schemas/domain.rng"
HOST = HostFacts(accelerator=Accelerator.KVM, memory=8 << 20, cpus=4, bridges=("xenbr0", "xenbr1", "eth2"))


pytestmark = pytest.mark.usefixtures("boot_files")


@pytest.fixture(scope="session")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMA))


def translated(cfg: Path) -> Translation:
    guest = load(str(cfg)).guest
    macs = [f"00:16:3e:00:00:{number:02x}" for number in range(missing_macs(guest))]
    return translate(guest, HOST, macs=macs)


def notes_of(translation: Translation, cfg: Path) -> str:
    """One note a line; those of no consequence are marked."""
    return "".join(
        f"{'harmless: ' if note.harmless else ''}{note.text()}\n".replace(f"{cfg.parent}/", "")
        for note in translation.notes
    )


def agree(request: pytest.FixtureRequest, golden: Path, actual: str) -> None:
    if request.config.getoption("--update-golden"):
        golden.write_text(actual)
    assert actual == golden.read_text()


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_the_xml_of_a_configuration(cfg: Path, request: pytest.FixtureRequest) -> None:
    agree(request, cfg.with_suffix(".xml"), render(translated(cfg).machine))


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_the_notes_on_a_configuration(cfg: Path, request: pytest.FixtureRequest) -> None:
    agree(request, cfg.with_suffix(".notes"), notes_of(translated(cfg), cfg))


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_the_xml_is_valid_and_reads_back_as_the_same_machine(cfg: Path, schema: etree.RelaxNG) -> None:
    machine = translated(cfg).machine
    schema.assertValid(etree.fromstring(render(machine)))
    assert parse(render(machine)) == machine


def test_every_golden_file_belongs_to_a_case() -> None:
    stems = {cfg.stem for cfg in CASES}
    assert {path.stem for path in CASES[0].parent.iterdir()} == stems


def test_no_password_is_in_any_note() -> None:
    for cfg in CASES:
        notes = notes_of(translated(cfg), cfg)
        assert not [secret for secret in ("s3cret", "longer-t") if secret in notes], cfg.stem
