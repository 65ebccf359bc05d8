"""The report's three formats: complete, escaped, and nothing in them but what is seen."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.notes import Fate, Note
from xmcompat.render import report_text
from xmcompat.render.report_html import page
from xmcompat.render.report_json import document, json_text
from xmcompat.render.report_values import DiskRow, Fact, Finding, GuestRow, NicRow, Passed, Report, Verdict

TAGS = set(
    "html head meta title style body header main footer section h1 h2 h3 p ul li b a br code span div table thead tbody "
    "tr th td dl dt dd".split()
)
VOID = {"meta", "br"}
#: Attributes, and what may stand in them.
ATTRIBUTES = {
    "lang": "en", "charset": "utf-8", "name": "viewport|referrer", "http-equiv": "Content-Security-Policy",
    "content": r"[\w\s=,;'-]+", "class": r"[\w ]+", "id": r"guest-[0-9]+", "href": r"#guest-[0-9]+", "scope": "col",
    "data-label": r"[\w ]+",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of the page; fails for what should not be there."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert re.fullmatch(ATTRIBUTES[name], value or ""), (tag, name, value)
            self.ids += [value or ""] if name == "id" else []
            self.links += [value or ""] if name == "href" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def report_of(word: str) -> Report:
    """A report in which WORD stands wherever a dead host's files may put it."""
    note = Note(key=word, fate=Fate.NOT_YET, reason=word, value=word, path=word, line=3, suggestion=word)
    guest = GuestRow(
        name=word, files=(word, word), verdict=Verdict.ATTENTION, uuid=word, kind="pv", memory=1, vcpus=1, boot=word,
        disks=(DiskRow(vdev=word, source=word, path=word, kind="volume", mode="w!"),),
        nics=(NicRow(bridge=word, mac=word), NicRow(bridge=word, named=False)), needs=(word,), displays=(word,),
        autostart=True, managed=True, reasons=(word, word), notes=(note,), quiet=((word, "carried over"),), differs=(word,),
    )  # fmt: skip
    fact = Fact(name=word, value=word, default=word, given=True, fate="approximated", meaning=word, attention=word)
    return Report(
        folder=word, looked=(word,), made=word, guests=(guest, guest), findings=(Finding(text=word, guests=(word,)),),
        xend_path=word, facts=(fact,), host_bridges=((word, word),), skipped=(Passed(path=word, reason=word),),
        unreadable=(Passed(path=word, reason=word),),
    )  # fmt: skip


HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><script>", "<!--", "-->", "]]>", "&lt;b&gt;",
    "' onmouseover='x", "javascript:alert(1)", "a\x1b[2Jb", "\u202egpj.exe", "a\nb", "\0", "\udcff", "</title>", "{}%s",
]  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_in_a_configuration_is_markup(word: str) -> None:
    found = Page(page(report_of(word)))
    assert report_text.plain(word) in "".join(found.words)


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_is_shown_and_does_nothing(word: str) -> None:
    report = report_of(word)
    found = Page(page(report))
    assert set(found.links) <= {f"#{name}" for name in found.ids}
    page(report).encode()
    for line in report_text.text(report).split("\n"):
        assert report_text.plain(line) == line
    assert json.loads(json_text(report))["guests"][0]["name"] == word
    assert json_text(report).isascii()


def test_characters_that_cannot_be_seen_are_shown() -> None:
    assert report_text.plain("a\x1b\u202e\u200b\udcffé") == "a\\x1b\\u202e\\u200b\\udcffé"


def test_the_page_asks_nobody_for_anything() -> None:
    text = page(report_of("x"))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<img|<iframe", text)


def test_each_guest_has_a_section_that_its_row_leads_to() -> None:
    found = Page(page(report_of("x")))
    assert found.ids == ["guest-0", "guest-1"]
    assert found.links == ["#guest-0", "#guest-1"]


def test_the_table_has_one_line_a_guest() -> None:
    lines = report_text.text(report_of("a\nb")).splitlines()
    assert sum(line.startswith("a\\nb  ") for line in lines) == 2


def test_long_values_do_not_spoil_the_table_and_stand_in_the_others() -> None:
    report = report_of("d" * 90)
    row = next(line for line in report_text.text(report).splitlines() if line.startswith("ddd"))
    assert row.startswith("d" * 37 + "...  ")
    assert "d" * 90 in page(report)


def test_a_guest_that_could_not_be_read_has_no_numbers() -> None:
    lost = GuestRow(name="x", files=("x.cfg",), verdict=Verdict.CANNOT, reasons=("it cannot be read",))
    report = Report(folder="f", guests=(lost,))
    assert report_text.text(report).splitlines()[3].split()[:4] == ["x", "?", "?", "?"]
    entry = json.loads(json_text(report))["guests"][0]
    assert (entry["kind"], entry["memory"], entry["vcpus"]) == (None, None, None)
    assert "cannot" in page(report)


def test_an_empty_report_is_one_too() -> None:
    report = Report(folder="f")
    assert "none" in report_text.text(report).splitlines()
    assert document(report)["guests"] == []
    Page(page(report))


def test_counts_are_told_in_words() -> None:
    guests = [GuestRow(name=str(index), files=("f",), verdict=verdict, memory=10, vcpus=1, kind="pv")
              for index, verdict in enumerate((Verdict.READY, Verdict.ATTENTION, Verdict.ATTENTION))]  # fmt: skip
    report = Report(folder="f", guests=tuple(guests))
    assert report_text.counts_text(report) == "3 guests: 1 ready, 2 need attention"
    assert report_text.totals_text(report) == "30 MiB of memory, 3 vcpus; 0 start with the host"
