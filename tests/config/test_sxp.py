"""S-expressions: the reader, the writer and the layout of xend."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.config.sxp import DEEPEST, Long, children, parse, pretty, value, write
from xmcompat.errors import ConfigLimit, ConfigSyntax, XmError

# -- reading


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("(a b c)", ["a", "b", "c"]),
        ("(a 'b c' \"d e\")", ["a", "b c", "d e"]),
        ("(a (b 1) ())", ["a", ["b", "1"], []]),
        ("(a #x\n b)", ["a", "b"]),
        ("(a b#c\n d)", ["a", "b", "d"]),
        (r"(a 'it\'s')", ["a", "it's"]),
        (r"(a '\x41\101\n')", ["a", "AA\n"]),
        (r"(a '\q')", ["a", "\\"]),
        (r"(a '\.b')", ["a", "\\b"]),
        (r"(a 'x\\.y')", ["a", "x\\.y"]),
        ("(a b'c d)", ["a", "b'c", "d"]),
        ("(a'b' c)", ["a'b'", "c"]),
        ("(a [b c])", ["a", "[b", "c", "]"]),
        ("(a b;c)", ["a", "b", ";c"]),
        ("(a{b}c)", ["a", "{b", "}c"]),
        ("(a -1 1.5 0x10)", ["a", "-1", "1.5", "0x10"]),
        ("(vm(name x)(memory 64))", ["vm", ["name", "x"], ["memory", "64"]]),
        ("('x'y)", ["x", "y"]),
        ("(a 'two\nlines')", ["a", "two\nlines"]),
        ("(a '#no comment')", ["a", "#no comment"]),
        (r"(a '\7x\1012')", ["a", "\ax" + "A2"]),
        ("(k '')", ["k", ""]),
        ("(k)", ["k"]),
    ],
)
def test_a_list_is_read(text: str, elements: list[object]) -> None:
    assert parse(text) == [elements]


def test_a_document_is_a_sequence() -> None:
    assert parse("a b (c)") == ["a", "b", ["c"]]
    assert parse("linux (kernel /k)(args \"root=/dev/xvda1 ro\")") == [
        "linux", ["kernel", "/k"], ["args", "root=/dev/xvda1 ro"],
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "  \n", "# nothing\n", "#"])
def test_nothing_is_no_error(text: str) -> None:
    assert parse(text) == []


def test_the_end_of_transmission_ends_the_document() -> None:
    assert parse("(a)\x04(b") == [["a"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"(a '\400')", "invalid octal escape: out of range 400"),
        (")", "syntax error: )"),
        ("(a (b)", "unexpected EOF"),
        ("(a", "unexpected EOF"),
        ("(a 'b", "unexpected EOF"),
        ("(a 'b\\", "unexpected EOF"),
        ("(a \x01)", "invalid character: code 1"),
        (r"(a '\xg0')", "invalid hexadecimal escape"),
    ],
)
def test_mistakes_have_xends_words(text: str, message: str) -> None:
    with pytest.raises(ConfigSyntax) as caught:
        parse(text)
    assert caught.value.line() == message


def test_mistakes_have_a_place() -> None:
    with pytest.raises(ConfigSyntax) as caught:
        parse("(vm\n  (name x)))\n", "web1.sxp")
    assert caught.value.line() == "web1.sxp:2: syntax error: )"


def test_bytes_that_xend_escaped_are_the_letters_they_were() -> None:
    assert parse(r"(a '\xc3\xa9')") == [["a", "é"]]
    assert parse(r"(a '\xab')") == [["a", b"\xab".decode("utf-8", "surrogateescape")]]


def test_a_backslash_does_not_swallow_the_end_of_a_text() -> None:
    assert parse(r"(a '\.' b)") == [["a", "\\", "b"]]


def test_lists_without_end_are_refused() -> None:
    with pytest.raises(ConfigLimit):
        parse("(" * (DEEPEST + 2))


# -- writing


@pytest.mark.parametrize("text", ["abc", "a/b:c-d_e.f~g", "0x10", "-1", "@", "00:16:3e:00:00:01", "-b----", "1.2.3.4"])
def test_plain_texts_are_bare(text: str) -> None:
    assert write(text) == text


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", '"it\'s"'),
        ('say "x"', "'say \"x\"'"),
        ("both ' and \"", "'both \\' and \"'"),
        ("a,b", "'a,b'"),
        ("a=b", "'a=b'"),
        ("a+b", "'a+b'"),
        ("a@b", "'a@b'"),
        ("*", "'*'"),
        ("w!", "'w!'"),
        ("#x", "'#x'"),
        ("(x)", "'(x)'"),
        ("back\\slash", r"'back\\slash'"),
        ("tab\t", r"'tab\t'"),
        ("nl\n", r"'nl\n'"),
        ("é", r"'\xc3\xa9'"),
        ("\x7f\x1b", r"'\x7f\x1b'"),
        (5, "5"),
        (1.5, "1.5"),
        (1.0, "1.0"),
        (1321006871.123456, "1321006871.12"),
        (1e12, "1e+12"),
        (True, "True"),
        (None, "'None'"),
        (Long(5), "'5'"),
        (["x", ["y", ""]], "(x (y ''))"),
        ([], "()"),
    ],
)
def test_other_values_are_written_as_python_2_shows_them(element: object, text: str) -> None:
    assert write(element) == text


# -- layout


def test_a_list_of_eighty_characters_stays_on_its_line_and_one_more_is_broken() -> None:
    fits = ["a", "b" * 76]
    assert pretty(fits) == f"(a {'b' * 76})\n"
    assert len(pretty(fits)) == 81
    assert pretty(["a", "b" * 77]) == f"(a\n    {'b' * 77}\n)\n"


def test_the_room_ends_at_the_same_column_inside() -> None:
    head = ["name", "x" * 100]
    assert pretty(["vm", head, ["k", "b" * 72]]).splitlines()[-2] == f"    (k {'b' * 72})"
    assert pretty(["vm", head, ["k", "b" * 73]]).splitlines()[-4:-1] == ["    (k", "        " + "b" * 73, "    )"]


def test_the_layout_of_a_guest() -> None:
    tree = [
        "vm",
        ["name", "a"],
        ["image", ["linux", ["args", "root=/dev/xvda1 ro console=hvc0 panic=10 quiet splash=none elevator=noop"]]],
        [
            "platform",
            [
                ["usb", "1"], ["boot", "cd"], ["serial", "pty"], ["device_model", "/usr/lib/xen/bin/qemu-dm"],
                ["guest_os_type", "default"],
            ],
        ],
    ]  # fmt: skip
    assert (
        pretty(tree)
        == """\
(vm
    (name a)
    (image
        (linux
            (args
                'root=/dev/xvda1 ro console=hvc0 panic=10 quiet splash=none elevator=noop'
            )
        )
    )
    (platform
        ((usb 1)
            (boot cd)
            (serial pty)
            (device_model /usr/lib/xen/bin/qemu-dm)
            (guest_os_type default)
        )
    )
)
"""
    )


def test_a_list_of_one_element_that_does_not_fit() -> None:
    assert pretty(["x" * 90]) == f"({'x' * 90}\n)\n"


def test_the_width_is_a_choice() -> None:
    assert pretty(["a", "b" * 75], width=78) == f"(a\n    {'b' * 75}\n)\n"


# -- laws

TEXTS = st.text(max_size=30) | st.sampled_from(["", "@", "w!", "it's", 'a"b', "\\", "é", "\x7f", "a b" * 30])
TREES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=6), max_leaves=30)


@given(st.lists(TREES, max_size=8), st.integers(1, 120))
def test_what_is_printed_is_read_back(tree: list[object], width: int) -> None:
    assert parse(pretty(tree, width)) == [tree]
    assert parse(write(tree)) == [tree]


@given(st.lists(TREES, max_size=8))
def test_no_line_ends_in_a_blank_and_what_fits_is_not_broken(tree: list[object]) -> None:
    text = pretty(tree)
    assert all(line == line.rstrip() for line in text.splitlines())
    if len(write(tree)) <= 80:
        assert text == write(tree) + "\n"


@settings(max_examples=300)
@given(st.text(alphabet="ab()'\"\\x4 #\n[];{}\x01é", max_size=40))
def test_reading_fails_only_as_an_error_of_ours(text: str) -> None:
    with suppress(XmError):
        parse(text)


# -- what a tree says


def test_the_first_of_equal_keys_counts() -> None:
    tree = parse("(vm (name a) (name b) (empty) (none ()))")[0]
    assert isinstance(tree, list)
    assert value(tree, "name") == "a"
    assert value(tree, "empty", "default") == "default"
    assert value(tree, "missing", "default") == "default"
    assert value(tree, "none") == []
    assert len(children(tree, "name")) == 2
