"""The masks of CPUID: names of bits, both forms, checks of the host, and what has no name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HVM, PV
from xmcompat.guest import Dialect, Value
from xmcompat.notes import Fate
from xmcompat.translate.cpuid import checked, masked
from xmcompat.translate.cpuid_names import NAMES, NOT_IN_QEMU, SET_BY_GUEST, name_of_flag
from xmcompat.translate.findings import Findings

LIBVIRTS_TABLE = Path("/usr/share/libvirt/cpu_map/x86_features.xml")
XL = replace(HVM, dialect=Dialect.XL)
AS_IT_COMES = "x" * 32


def bits(**chosen: str) -> str:
    """32 characters with those of the numbered bits: b4="0"."""
    characters = dict.fromkeys(range(31, -1, -1), "x") | {int(bit[1:]): value for bit, value in chosen.items()}
    return "".join(characters[bit] for bit in range(31, -1, -1))


def read(value: Value, guest=HVM) -> tuple[dict[str, str], list[tuple[str, str]]]:  # type: ignore[no-untyped-def]
    """The features, and (value, reason) of each note."""
    guest = replace(guest, options={"cpuid": value})
    findings = Findings(guest)
    features = masked(guest, findings)
    assert all((note.key, note.fate, note.harmless) == ("cpuid", Fate.NO_MEANING, False) for note in findings.notes)
    return features, [(note.value, note.reason) for note in findings.notes]


# -- the table


@pytest.mark.skipif(not LIBVIRTS_TABLE.exists(), reason="libvirt's table of features is not installed")
def test_the_names_are_libvirts() -> None:
    theirs = {}
    for feature in ElementTree.parse(LIBVIRTS_TABLE).getroot().iter("feature"):
        for place in feature.iter("cpuid"):
            leaf, subleaf = int(place.get("eax_in", "0"), 16), int(place.get("ecx_in", "0"), 16)
            for register in ("eax", "ebx", "ecx", "edx"):
                if mask := int(place.get(register, "0"), 16):
                    theirs[leaf, subleaf, register, mask.bit_length() - 1] = feature.get("name")
    assert {place: theirs.get(place) for place in NAMES} == NAMES


def test_every_name_stands_for_one_bit() -> None:
    assert len(set(NAMES.values())) == len(NAMES) > 200
    assert set(NAMES.values()) > NOT_IN_QEMU | SET_BY_GUEST


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("lahf-lm", "lahf_lm"), ("tsc-deadline", "tsc-deadline"), ("sse4.1", "sse4.1"), ("sse4_2", "sse4.2"),
        ("sse3", "pni"), ("pclmulqdq", "pclmuldq"), ("clfsh", "clflush"), ("htt", "ht"), ("page1gb", "pdpe1gb"),
        ("avx512-ifma", "avx512ifma"), ("tm", "tm"), ("perfctr_core", "perfctr_core"), ("warp", ""), ("", ""),
    ],
)  # fmt: skip
def test_xls_names_of_flags(flag: str, name: str) -> None:
    assert name_of_flag(flag) == name


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_libvirts_own_names_are_flags_as_well(name: str) -> None:
    assert name_of_flag(name) == name


# -- masks


def test_each_letter_has_its_policy() -> None:
    text = "1:ecx=" + bits(b5="0", b9="1", b13="k", b19="s")
    assert read([text]) == ({"vmx": "disable", "ssse3": "force", "cx16": "optional", "sse4.1": "optional"}, [])


def test_several_registers_and_leaves() -> None:
    texts = [f"1:edx={bits(b6='1')},ecx={bits(b31='0')}", f"0x80000001:edx={bits(b27='0')}", f"7,0:ebx={bits(b5='0')}"]
    assert read(texts) == ({"pae": "force", "hypervisor": "disable", "rdtscp": "disable", "avx2": "disable"}, [])


def test_a_leaf_may_be_decimal() -> None:
    assert read([f"2147483649:edx={bits(b20='0')}"])[0] == read([f"0x80000001:edx={bits(b20='0')}"])[0] == {"nx": "disable"}


def test_subleaves_are_told_apart() -> None:
    assert read([f"0xd,1:eax={bits(b0='0')}"]) == ({"xsaveopt": "disable"}, [])
    features, told = read([f"0xd,0:eax={bits(b0='0')}"])
    assert not features
    assert told == [("0xd:eax bit 0", "libvirt has no name for these bits, which stay as KVM shows them")]


def test_a_number_decides_every_bit() -> None:
    features, told = read(["6:eax=0x00000004"])
    assert features == {"arat": "force"}
    assert told == [("0x6:eax bit 0-1,3-31", "libvirt has no name for these bits, which stay as KVM shows them")]


def test_the_last_of_two_that_disagree_counts() -> None:
    assert read([f"1:edx={bits(b6='1')}", f"1:edx={bits(b6='0')}"])[0] == {"pae": "disable"}


def test_bits_without_a_name_are_one_note() -> None:
    features, told = read([f"1:eax={bits(b0='1')}", f"4:ebx={bits(b3='0', b4='1', b5='k')}"])
    assert not features
    assert told == [
        ("0x1:eax bit 0, 0x4:ebx bit 3-4", "libvirt has no name for these bits, which stay as KVM shows them")
    ]


def test_many_of_them_are_not_all_named() -> None:
    _, (only,) = read([f"{leaf}:eax={bits(b0='1')}" for leaf in range(100, 120)])
    assert only[0].endswith("0x6b:eax bit 0 and 12 more")


def test_where_xen_shows_itself_there_is_nothing() -> None:
    assert read([f"0x40000003:eax={bits(b0='1')}"]) == ({}, [("0x40000003", "Xen shows itself there, and there is no Xen")])


def test_what_qemu_cannot_switch_is_not_asked_of_it() -> None:
    assert read([f"7:ebx={bits(b12='0')}", f"1:ecx={AS_IT_COMES}"]) == ({}, [])
    assert read([f"7:ebx={bits(b12='1')}"]) == ({}, [("cmt", "QEMU cannot give it to a guest")])
    assert read([f"1:ecx={bits(b27='0')}"]) == ({}, [("osxsave", "the guest's own kernel sets it")])


@pytest.mark.parametrize("text", ["1:ecx=01", f"x:ecx={AS_IT_COMES}", "1:", f"1:esi={AS_IT_COMES}", "8000000A:ecx=0x1"])
def test_what_is_no_mask_is_told(text: str) -> None:
    assert read([text]) == ({}, [(text, "it is not LEAF:eax=BITS,...")])


# -- xl's second form


def test_flags() -> None:
    text = "host,tm=0,sse3=1,lahf-lm=k, aes = x ,svm=s"
    assert read(text, XL) == (
        {"tm": "disable", "pni": "force", "lahf_lm": "optional", "svm": "optional"}, [],
    )  # fmt: skip


def test_numbers_and_strange_flags_are_told() -> None:
    assert read("host,family=6,warp=1,tm=9,nx", XL) == ({}, [
        ("family=6", "libvirt takes flags alone; the number stays as KVM shows it"),
        ("warp", "libvirt has no name for this flag, which stays as KVM shows it"),
        ("tm=9, nx", "it is not FLAG=VALUE with a value of 0, 1, x, k, s"),
    ])  # fmt: skip


def test_xl_reads_the_list_as_well() -> None:
    text = f"1:ecx={bits(b5='0')}"
    assert read([text], XL) == read([text]) == ({"vmx": "disable"}, [])


# -- checks


def check(mask: dict[str, str], text: str) -> tuple[dict[str, str], list[str]]:
    guest = replace(PV, options={"cpuid_check": [text]})
    findings = Findings(guest)
    return checked(guest, mask, findings), [note.value for note in findings.notes]


def test_a_check_demands_and_forbids() -> None:
    text = f"1:ecx={bits(b5='0', b25='1', b26='s')}"
    assert check({}, text) == ({"vmx": "forbid", "aes": "require"}, [])


def test_a_check_beside_a_mask() -> None:
    text = f"1:ecx={bits(b5='0', b25='1', b26='1', b28='0', b29='1')}"
    mask = {"vmx": "disable", "aes": "force", "xsave": "disable", "avx": "force", "f16c": "optional"}
    assert check(mask, text) == (
        {"vmx": "forbid", "aes": "require", "xsave": "disable", "avx": "force", "f16c": "require"}, ["xsave, avx"],
    )  # fmt: skip


# -- anything


@given(st.lists(st.text(alphabet="0123456789abcdefx:,=ehostk -", max_size=60) | st.text(), max_size=4))
def test_no_text_fails(texts: list[str]) -> None:
    value: list[Value] = [*texts]
    features, _ = read(value)
    assert set(features.values()) <= {"disable", "force", "optional"}
    if len(texts) == 1:
        assert read(texts[0], XL)[0] == features


@given(
    st.sampled_from(sorted({place[:3] for place in NAMES})),
    st.lists(st.sampled_from("01xks"), min_size=32, max_size=32).map("".join),
)
def test_every_bit_is_a_feature_or_told(place: tuple[int, int, str], text: str) -> None:
    leaf, subleaf, register = place
    features, told = read([f"{leaf:#x},{subleaf}:{register}={text}"])
    for bit, value in enumerate(reversed(text)):
        name = NAMES.get((*place, bit))
        if name and name not in NOT_IN_QEMU | SET_BY_GUEST:
            assert features.get(name) == {"0": "disable", "1": "force", "x": None}.get(value, "optional")
        elif name is None and value in "01":
            assert any("no name" in reason for _, reason in told)
