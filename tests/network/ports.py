"""A host with a bridge and the tap of one guest, and the ports that tests set up for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.lab.inside import inside
from tests.lab.lan import BareHost
from tests.network.taps import Tap
from tests.network.undoing import Change, Laws, Tried, tried
from xmcompat.network import port, steps, sweep
from xmcompat.network.steps import Action, Step, take
from xmcompat.network.wanted import Mode, Port, Rate

MAC, TAP = "00:16:3e:00:00:01", "fe:16:3e:00:00:01"
RATE = Rate(speed=10**6, burst=50_000)
WHOLE = Port(
    device="vif1.0", mac=MAC, bridge="xenbr0", addresses=("192.0.2.10", "2001:db8::10"), isolated=True, sending=RATE,
    receiving=RATE, altnames=("web1.0", "a-name-longer-than-15-bytes"),
)  # fmt: skip
ROUTED = Port(device="vif1.0", mac=MAC, mode=Mode.ROUTE, addresses=("192.0.2.10",), sending=RATE, receiving=RATE)
PORTS = {"whole": WHOLE, "routed": ROUTED, "held": Port(device="vif1.0", mac=MAC, held=True)}
#: How a kernel may limit: the best way, and those for kernels that have less.
MEANS = {"shaped": ("ifb", "tbf"), "classes": ("nft", "htb"), "cut": ("nft", "nft")}


@dataclass
class Connected(Change):
    """The port WANTED. What the kernel draws for each new shaper is not compared."""

    wanted: Port
    unseen = ("link ifb-vif1.0 address = ", "class vif1.0 class tbf ", "class ifb-vif1.0 class tbf ")

    def up(self) -> Sequence[Step]:
        return port.up(self.wanted)

    def down(self) -> Sequence[Step]:
        return port.down(self.wanted)


class Lab:
    """A host with the bridge xenbr0, and with the tap of one guest on it."""

    def __init__(self, place: BareHost) -> None:
        self.place = place
        self.tap = self.new_tap()

    def new_tap(self, mac: str = TAP) -> Tap:
        return Tap(self.place, "vif1.0", mac, lines="link set vif1.0 master xenbr0\n")

    def up(self, wanted: Port) -> tuple[Step, ...]:
        return inside(self.place.pid, lambda: port.up(wanted))

    def down(self, wanted: Port) -> tuple[Step, ...]:
        return inside(self.place.pid, lambda: port.down(wanted))

    def debris(self) -> tuple[Step, ...]:
        return inside(self.place.pid, sweep.debris)

    def take(self, plan: Sequence[Step], actor: Callable[[Action], object] = steps.act) -> None:
        inside(self.place.pid, lambda: take(plan, actor))

    def tried(self, wanted: Port, verb: str, ways: Sequence[str]) -> Tried:
        return tried(self.place, Connected(wanted), verb, ways)

    def killed(self, wanted: Port, number: int) -> None:
        """Set WANTED up in a process that dies after its action NUMBER, from 0."""
        self.place.call(lambda: Laws(Connected(wanted)).killed("up", number))

    def state(self) -> str:
        sections = self.place.snapshot().section("link", "nft", "qdisc", "class", "filter", "addr")
        return "\n".join(line for line in sections if " xenbr0 " not in line[:14])  # knows late that it has a carrier
