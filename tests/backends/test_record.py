"""A record is read the same whether the quick look takes it or expat does."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends import glance, record
from xmcompat.backends.record import XenRecord, read_record, record_of

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=30)
LIBVIRTS = '<guest source="/etc/xen/web" dialect="xm" started="1300000000.5">(vm (name web) (args \'a "b"\'))</guest>'


def by_expat(xml: str) -> XenRecord:
    root = glance.read(xml)
    return record_of(root.attributes, root.text)


@given(values=st.dictionaries(st.sampled_from(["source", "dialect", "started", "consoles", "restarts"]), texts), text=texts)
def test_the_quick_look_reads_what_expat_reads(values: dict[str, str], text: str) -> None:
    words = "".join(f" {name}={quoteattr(value)}" for name, value in values.items())
    xml = f"<guest{words}>{escape(text)}</guest>"
    assert read_record(xml) == by_expat(xml)


def test_what_libvirt_gives_needs_no_expat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(glance, "read")
    found = read_record(LIBVIRTS)
    assert found == XenRecord("(vm (name web) (args 'a \"b\"'))", "/etc/xen/web", "xm", 1300000000.5)


@pytest.mark.parametrize(
    "xml",
    [
        LIBVIRTS.replace("web)", "web &amp; b)"),
        LIBVIRTS.replace("<guest ", "<guest xmlns:x='u' "),
        LIBVIRTS.replace('"/etc/xen/web"', "'/etc/xen/web'"),
        LIBVIRTS.replace("(vm", "<!-- no --><b/>(vm"),
        LIBVIRTS.replace(' started="', ' started = "'),
        LIBVIRTS.replace("/etc", "/e\ttc"),
        LIBVIRTS.replace("(vm", "(vm\r\n"),
    ],
)
def test_all_else_is_left_to_expat(xml: str) -> None:
    assert record._plain(xml) is None
    assert read_record(xml) == by_expat(xml)
