"""Guests as their owners wrote them, by many tools and hands: ``tests/corpus``, a configuration a file, and what becomes
of each.

Beside NAME.cfg (or NAME.sxp) are NAME.xml, NAME.notes and NAME.json, and NAME.output, where its script writes something;
the guests of a file that holds several are NAME.1.xml and so on. Where a guest is refused, NAME.error says why, beside
NAME.notes and NAME.json if it could be read. A name that begins with "broken" is that of one which nobody could use.
``pytest --update-golden`` writes the answers anew.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from lxml import etree

from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator, Machine
from xmcompat.config.json_form import guest_document, guest_from
from xmcompat.config.read import Document, offline_host, read
from xmcompat.config.words import parse_words
from xmcompat.errors import ConfigError, XmError
from xmcompat.guest import Dialect
from xmcompat.notes import Note, joined
from xmcompat.translate.machine import Translation, missing_macs, translate

CORPUS = Path(__file__).parent / "corpus"
KINDS = ("xm", "xl", "sxp")
CASES = sorted(path for kind in KINDS for path in (CORPUS / kind).iterdir() if path.suffix in (".cfg", ".sxp"))
BROKEN = [case for case in CASES if case.stem.startswith("broken")]
#: Those that become a machine.
RUNNING = [case for case in CASES if not case.with_suffix(".error").exists()]
REFUSED = [case for case in CASES if case not in RUNNING and case not in BROKEN]

#: Why a guest that Xen runs has no machine here: it comes later, or needs what the configuration does not tell.
WITHOUT_MACHINE = re.compile(
    "nothing takes the kernel out of it|it runs on Xen alone|known to its host alone|on which server the target is"
    "|write both devices as HOST:CHANNEL:TARGET:LUN"
)

SCHEMA = "/usr/share/libvirt/schemas/domain.rng"
HOST = HostFacts(
    accelerator=Accelerator.KVM, memory=64 << 20, cpus=16, numa_nodes=2, cpu_vendor="Intel",
    bridges=("xenbr0", "xenbr1", "br0", "br1", "bridge0", "virbr0", "xen-br0", "c0a80100", "c0a80200", "ovsbr0"),
    openvswitch=("ovsbr0",), bridge_aliases=(("xenbr2", "br1"),),
)  # fmt: skip

#: "# words: vmid=3" and "# dialect: xl", in the first line of a case.
_HEAD = re.compile(r"# (words|dialect): (.*)")
_WORD = re.compile(r"""(?:[^\s"]|"[^"]*")+""")

#: Passwords of the corpus.
SECRETS = ("s3cret", "welcome", "oracle1", "hunter22")


class Guest(NamedTuple):
    """One guest of a case on HOST: what was read, and its machine or why there is none."""

    document: Document
    outcome: Translation | XmError

    @property
    def notes(self) -> tuple[Note, ...]:
        more = self.outcome.notes if isinstance(self.outcome, Translation) else ()
        return joined(self.document.notes, more)


def name_of(case: Path) -> str:
    return str(case.relative_to(CORPUS).with_suffix(""))


def head_of(case: Path) -> dict[str, str]:
    """What the first line asks for."""
    first = case.read_bytes().split(b"\n", 1)[0].decode("latin-1").strip()
    found = _HEAD.fullmatch(first)
    return {found[1]: found[2]} if found else {}


@cache
def read_case(case: Path) -> tuple[Guest, ...]:
    """The guests of CASE; interfaces without an address have one by their number. Raises XmError for what is unreadable."""
    head = head_of(case)
    documents = read(
        case.read_bytes(), case.name, dialect=Dialect(head["dialect"]) if "dialect" in head else None,
        words=parse_words(_WORD.findall(head.get("words", ""))), host=offline_host(),
        default_name=case.stem if case.parent.name == "xm" else None,
    )  # fmt: skip
    return tuple(Guest(document, _translated(document)) for document in documents)


def _translated(document: Document) -> Translation | XmError:
    macs = [f"00:16:3e:00:00:{number:02x}" for number in range(missing_macs(document.guest))]
    try:
        return translate(document.guest, HOST, macs=macs)
    except XmError as error:
        return error


def machines(case: Path) -> list[Machine]:
    return [guest.outcome.machine for guest in read_case(case) if isinstance(guest.outcome, Translation)]


def answers(case: Path) -> dict[Path, str]:
    """The files beside CASE, and what should be in them."""
    try:
        guests = read_case(case)
    except XmError as error:
        return {case.with_suffix(".error"): told(error)}
    texts = {}
    for number, guest in enumerate(guests, 1):
        stem = f"{case.stem}.{number}" if len(guests) > 1 else case.stem
        own = {"notes": "".join(map(_shown, guest.notes)), "json": _json(guest.document)}
        if isinstance(guest.outcome, Translation):
            own["xml"] = render(guest.outcome.machine)
        else:
            own["error"] = told(guest.outcome)
        own["output"] = guest.document.printed + guest.document.complained
        texts.update({case.with_name(f"{stem}.{kind}"): text for kind, text in own.items() if text or kind == "notes"})
    return texts


def told(error: XmError) -> str:
    """The line about ERROR, with the place in front where it is known and the words are xm's own."""
    line = error.line()
    if isinstance(error, ConfigError) and error.path and error.path not in line:
        line = f"{error.path}:{error.line_number}: {line}" if error.line_number else f"{error.path}: {line}"
    return f"{line}\n"


def _shown(note: Note) -> str:
    return f"{'harmless: ' if note.harmless else ''}{note.text()}\n"


def _json(document: Document) -> str:
    return json.dumps(guest_document(document.guest), indent=1, ensure_ascii=False) + "\n"


def _beside(case: Path) -> set[Path]:
    return {path for path in case.parent.iterdir() if path.name.partition(".")[0] == case.stem and path != case}


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_becomes_of_a_configuration(case: Path, request: pytest.FixtureRequest) -> None:
    actual = answers(case)
    if request.config.getoption("--update-golden"):
        for path in _beside(case) - actual.keys():
            path.unlink()
        for path, text in actual.items():
            path.write_bytes(text.encode())
    assert sorted(path.name for path in _beside(case)) == sorted(path.name for path in actual)
    for path, text in actual.items():
        assert text == path.read_bytes().decode(), path.name


@pytest.mark.parametrize("case", RUNNING, ids=name_of)
def test_the_xml_is_valid_and_reads_back_as_the_same_machine(case: Path, schema: etree.RelaxNG) -> None:
    assert machines(case)
    for machine in machines(case):
        xml = render(machine)
        schema.assertValid(etree.fromstring(xml))
        assert parse(xml) == machine


@pytest.mark.parametrize("case", [*RUNNING, *REFUSED], ids=name_of)
def test_a_configuration_is_known_as_its_own_tools_and_every_setting_has_a_note(case: Path) -> None:
    """Whatever becomes of a key, somebody says so."""
    for guest in read_case(case):
        config = guest.document.guest
        noted = {re.split(r"[\[.]", note.key)[0] for note in guest.notes}
        assert config.dialect is Dialect(case.parent.name)
        assert not {*config.options, *config.unknown} - noted


@pytest.mark.parametrize("case", [*RUNNING, *REFUSED], ids=name_of)
def test_the_document_in_json_reads_back_as_the_same_guest(case: Path) -> None:
    for guest in read_case(case):
        assert guest_from(json.loads(_json(guest.document))) == guest.document.guest


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_a_guest_without_a_machine_lacks_what_comes_later_or_only_its_host_knows(case: Path) -> None:
    refusals = [guest.outcome for guest in read_case(case) if isinstance(guest.outcome, XmError)]
    assert refusals
    assert all(WITHOUT_MACHINE.search(refusal.line()) for refusal in refusals)


@pytest.mark.parametrize("case", BROKEN, ids=name_of)
def test_what_nobody_could_use_is_refused_in_one_line(case: Path) -> None:
    """But for the two lines that xm has for a syntax error."""
    lines = case.with_suffix(".error").read_text()
    assert lines.strip()
    assert lines.count("\n") - lines.count("\n\t") == 1
    assert len(lines) < 500
    assert not case.with_suffix(".xml").exists()


def test_every_file_belongs_to_a_case() -> None:
    stems = {(case.parent, case.stem) for case in CASES}
    assert len(stems) == len(CASES)
    files = [path for kind in KINDS for path in (CORPUS / kind).iterdir()]
    assert not [path for path in files if (path.parent, path.name.partition(".")[0]) not in stems]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_no_password_is_in_a_note_or_an_error(case: Path) -> None:
    for path, text in answers(case).items():
        if path.suffix in (".notes", ".error"):
            assert not [secret for secret in SECRETS if secret in text], path.name


def test_the_corpus_is_as_large_and_as_broken_as_it_should_be() -> None:
    assert len(CASES) >= 250
    assert len(BROKEN) >= 80


@pytest.fixture(scope="session")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMA))
