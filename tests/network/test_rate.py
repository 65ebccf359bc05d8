"""What limits come to, in the words of tc."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.network import programs, rate
from xmcompat.network.programs import NetworkError, ProgramFailed
from xmcompat.network.wanted import LONGEST_NAME, Port, Rate

SPEEDS = st.integers(min_value=1, max_value=100 * 10**9 // 8)


def numbers(line: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"qdisc replace dev vif1\.0 root tbf rate (\d+)bit burst (\d+) limit (\d+)\n", line)
    assert found
    return int(found[1]), int(found[2]), int(found[3])


@given(SPEEDS, st.integers(min_value=1, max_value=2**32 - 1), st.sampled_from([68, 1500, 9000, 65535]))
def test_a_packet_always_fits_in_the_burst_and_the_burst_in_the_queue(speed: int, burst: int, mtu: int) -> None:
    bits, most, limit = numbers(rate.token_bucket("vif1.0", Rate(speed=speed, burst=burst), mtu))
    assert bits == speed * 8
    assert most >= mtu + 14
    assert most <= limit < 2**32
    assert most >= min(burst, 2**31 - 1)


def test_a_gigabit_comes_in_bursts_of_fifty_milliseconds() -> None:
    speed = 10**9 // 8
    assert numbers(rate.token_bucket("vif1.0", Rate(speed=speed, burst=speed // 20), 1500)) == (10**9, 6_250_000, 18_750_000)


@given(st.binary(min_size=1, max_size=15).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a_shaper_has_a_name_that_a_link_may_have(name: bytes) -> None:
    shaper = rate.shaper_of(name.decode("utf-8", "surrogateescape"))
    assert 4 < len(shaper.encode("utf-8", "surrogateescape")) <= LONGEST_NAME


def test_shapers_of_long_names_differ() -> None:
    assert rate.shaper_of("vif12.0") == "ifb-vif12.0"
    assert rate.shaper_of("vif12345.10-emu") != rate.shaper_of("vif12345.11-emu")
    assert rate.shaper_of("vif12345.10-emu").startswith("ifb.")


class Kernel:
    """Fails what it lacks, as the programs do, and counts what it was asked."""

    def __init__(self, *lacks: str, unshare: bool = True) -> None:
        self.lacks, self.unshare, self.asked = lacks, unshare, 0

    def run(self, words: tuple[str, ...], *, text: str = "") -> str:
        self.asked += 1
        assert words[:2] == ("unshare", "--net")
        if not self.unshare:
            raise ProgramFailed(words, 1, "unshare: unshare failed: Operation not permitted")
        if any(lack in " ".join(words) for lack in self.lacks):
            raise ProgramFailed(words, 2, "Operation not supported")
        return ""


LIMITED = Port(device="vif1.0", mac="00:16:3e:00:00:01", sending=Rate(speed=1, burst=1), receiving=Rate(speed=1, burst=1))


@pytest.fixture(autouse=True)
def _forget() -> None:
    rate._works.cache_clear()


@pytest.mark.parametrize(
    ("lacks", "means"),
    [
        ((), ("ifb", "tbf")), (("ifb",), ("nft", "tbf")), (("fwd",), ("nft", "tbf")), (("tbf",), ("nft", "htb")),
        (("tbf", "htb"), ("nft", "nft")),
    ],
)  # fmt: skip
def test_what_a_kernel_lacks_is_done_otherwise(
    lacks: tuple[str, ...], means: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "run", Kernel(*lacks).run)
    assert rate.means_for(LIMITED) == means


def test_a_kernel_is_asked_once_and_only_for_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(programs, "run", kernel.run)
    assert rate.means_for(Port(device="vif1.0", mac="")) == ("", "")
    assert kernel.asked == 0
    rate.means_for(LIMITED)
    rate.means_for(LIMITED)
    assert kernel.asked == 3


@pytest.mark.parametrize(("lacks", "verb"), [(("tbf", "limit"), "sends"), (("tbf", "htb", "egress"), "receives")])
def test_a_kernel_that_limits_nothing_is_told(lacks: tuple[str, ...], verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "run", Kernel(*lacks).run)
    with pytest.raises(NetworkError, match=rf"^vif1\.0: this kernel cannot limit what a guest {verb}$"):
        rate.means_for(LIMITED)


def test_without_rights_nothing_is_taken_for_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "run", Kernel(unshare=False).run)
    with pytest.raises(NetworkError, match="cannot be found out: unshare: unshare failed"):
        rate.means_for(LIMITED)


@pytest.mark.parametrize(("program", "package"), [("tc", "iproute2"), ("nft", "nftables")])
def test_a_program_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, program: str, package: str) -> None:
    def run(words: tuple[str, ...], *, text: str = "") -> str:
        if words[2] == program:
            raise ProgramFailed(words, 127, f"unshare: failed to execute {program}: No such file or directory")
        return ""

    monkeypatch.setattr(programs, "run", run)
    with pytest.raises(NetworkError, match=f"the program '{program}' cannot be started") as raised:
        rate.means_for(LIMITED)
    assert raised.value.hint == f"install the package {package}"


def test_this_kernel_has_some_means_and_keeps_nothing_of_the_trial() -> None:
    assert rate.means_for(LIMITED).sending in ("ifb", "nft")
    assert rate.means_for(LIMITED).receiving in ("tbf", "htb", "nft")
