"""A guest of 272 bytes that does what every kernel does first: the proof that KVM really works here.

Some hosts have a /dev/kvm that opens, answers every query and runs a boot sector, and still cannot run a
kernel: virtual machines whose own KVM has no hardware behind it and interprets the guest's instructions one by
one. A kernel hangs or dies there long before its first line. So nothing is asked; a guest is run:

    mark  the guest has shown that
    R     real mode runs
    P     it switched to 32-bit protected mode through a GDT of its own
    L     it made page tables, set PAE, EFER.LME and paging, and is in 64-bit mode
    T     a breakpoint (int3) reached the handler in its IDT
    I     the handler returned to it (iretq)
    M     five million instructions with loads and stores took no more than LOOP_BUDGET of processor time
    C     cpuid answered; then it halts

Every step is one that Linux takes at each start (a breakpoint of its own too, to test the patching of code), and
one that costs a KVM with hardware behind it microseconds; the loop takes 2-4 ms. A KVM that interprets takes
some 350 ns an instruction, hundreds of times slower than QEMU's own emulation (TCG), and knows
no breakpoint in 64-bit mode: it ends with KVM_EXIT_INTERNAL_ERROR before T, after a few milliseconds; the one that
knows it fails at M. The marks tell where it ended, and those before it that the probe itself works.

A guest that comes to no end within the deadline proves something only where it could have gone on. So before the first
mark, the child says when Python was loaded, which may take long from a disk that others keep busy; and before it is killed,
it is looked at how long it has waited for a processor. One that was ready to go on and has slept since is asleep in KVM.

This file is a program: ``probe()`` runs it in a process of its own, under a deadline, because a KVM that hangs
must not take the caller along. It imports nothing of the package. The guest writes its marks to port 0xE9, where
QEMU has its debug console, so that the same bytes can be tried under TCG.
Source of the structures and numbers: the kernel's documentation of its KVM interface.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

#: Seconds of wall time after which the guest counts as hanging, unless the caller says others.
DEADLINE = 3.0
#: Seconds of processor time for the guest's loop: 100 ns an instruction.
LOOP_BUDGET = 0.5
#: All marks of a guest that came through.
COMPLETE = "RPLTIMC"
#: Where the guest's code lies in its memory, and where it starts.
ENTRY = 0x1000
MARK_PORT = 0xE9

#: 0x2000-0x4fff page tables, 0x5000 IDT, 0x6000 the loop's word, stack down from 0x8000; zeroed by the guest.
GUEST_CODE = bytes.fromhex(
    # real mode, CS base 0
    "FA"                        # 1000 start: cli
    "B052" "E6E9"               # 1001   mark 'R'                 mov al,'R'; out 0xe9,al
    "2E0F01160011"              # 1005   lgdt [cs:gdtr]
    "0F20C0" "0C01" "0F22C0"    # 100b   set CR0.PE               mov eax,cr0; or al,1; mov cr0,eax
    "66EA1B1000000800"          # 1013   jmp dword 8:prot
    # 32-bit protected mode
    "66B81000"                  # 101b prot: mov ax,0x10
    "8ED8" "8EC0" "8ED0"        # 101f   mov ds,ax; mov es,ax; mov ss,ax
    "BC00800000"                # 1025   mov esp,0x8000
    "B050" "E6E9"               # 102a   mark 'P'
    "FC" "31C0"                 # 102e   cld; xor eax,eax
    "BF00200000"                # 1031   mov edi,0x2000
    "B900100000" "F3AB"         # 1036   mov ecx,0x1000; rep stosd
    "C7050020000003300000"      # 103d   mov dword [0x2000],0x3003    PML4 -> 0x3000
    "C7050030000003400000"      # 1047   mov dword [0x3000],0x4003    PDPT -> 0x4000
    "C7050040000083000000"      # 1051   mov dword [0x4000],0x83      PD: the first 2 MiB
    "0F20E0" "0C20" "0F22E0"    # 105b   set CR4.PAE              mov eax,cr4; or al,0x20; mov cr4,eax
    "B800200000" "0F22D8"       # 1063   mov eax,0x2000; mov cr3,eax
    "B9800000C0" "0F32"         # 106b   mov ecx,0xc0000080 (EFER); rdmsr
    "80CC01" "0F30"             # 1072   set EFER.LME             or ah,1; wrmsr
    "0F20C0" "0D00000080"       # 1077   mov eax,cr0; or eax,0x80000000
    "0F22C0"                    # 107f   set CR0.PG               mov cr0,eax
    "EA891000001800"            # 1082   jmp 0x18:long
    # 64-bit mode
    "B04C" "E6E9"               # 1089 long: mark 'L'
    "C7042530500000DA101800"    # 108d   mov dword [0x5030],0x00180000+trap    gate 3, low half
    "C7042534500000008E0000"    # 1098   mov dword [0x5034],0x8e00             present, interrupt gate
    "0F011C2506110000"          # 10a3   lidt [idtr]
    "CC"                        # 10ab   int3
    "B049" "E6E9"               # 10ac   mark 'I'
    "B940420F00" "31DB"         # 10b0   mov ecx,1000000; xor ebx,ebx
    "891C2500600000"            # 10b7 again: mov [0x6000],ebx
    "031C2500600000"            # 10be   add ebx,[0x6000]
    "FFC3" "FFC9" "75EC"        # 10c5   inc ebx; dec ecx; jnz again
    "B04D" "E6E9"               # 10cb   mark 'M'
    "31C0" "0FA2"               # 10cf   xor eax,eax; cpuid
    "B043" "E6E9"               # 10d3   mark 'C'
    "F4" "EBFD"                 # 10d7 done: hlt; jmp done
    "B054" "E6E9" "48CF"        # 10da trap: mark 'T'; iretq
    # 10e0 gdt: null, 32-bit code, data, 64-bit code
    "0000000000000000" "FFFF0000009ACF00" "FFFF00000092CF00" "FFFF0000009AAF00"
    "1F00" "E0100000"           # 1100 gdtr: limit 31, gdt
    "3F00" "0050000000000000"   # 1106 idtr: limit 63 (gates 0-3), 0x5000
)

#: How a try ended, as the child says it.
HALTED, SLOW, REFUSED, FAILED, HUNG, BROKEN = "halted", "slow", "refused", "failed", "hung", "broken"

MEMORY_SIZE = 0x10000
LOOP_INSTRUCTIONS = 5_000_000
CPUID_ENTRIES = 256
EXIT_IO, EXIT_HLT, EXIT_INTERNAL_ERROR = 2, 5, 17
EXIT_NAMES = {
    0: "unknown exit", 3: "debug exit", 6: "access outside its memory", 8: "triple fault", 9: "failed entry",
    EXIT_INTERNAL_ERROR: "internal error",
}


class Outcome(NamedTuple):
    """How the try went. ``cpu`` is the processor time (seconds) the child used, None where it is not known.

    ``held_up``, where it hung, is the share of its time in which not KVM but this host had it wait: 0 to 1.
    """

    marks: str
    end: str
    detail: str = ""
    cpu: float | None = None
    held_up: float = 0.0

    @property
    def works(self) -> bool:
        return self.end == HALTED and self.marks == COMPLETE


def probe(device: str = "/dev/kvm", deadline: float = DEADLINE, *, program: str | None = None) -> Outcome:
    """Run the guest on DEVICE in a child process; back within DEADLINE (seconds) and half a second.

    The child is killed and collected in every case, Ctrl-C included; should the kernel hold it beyond that, it is
    left to end by itself. May be repeated, and several at once do not disturb each other. Raises nothing of its
    own. PROGRAM is what to run instead of this file (tests).
    """
    import resource
    import subprocess

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [sys.executable or "python3", "-I", "-S", program or os.path.abspath(__file__), device, str(deadline)]
    start = time.monotonic()
    try:
        child = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        return Outcome("", BROKEN, f"cannot start {arguments[0]}: {error.strerror}")
    cpu, waited = None, 0.0
    try:
        output, _ = child.communicate(timeout=deadline)
        if hung := child.returncode == -14:  # its own alarm: this process was held up itself, and could not look
            waited = deadline
    except subprocess.TimeoutExpired as expired:
        output, hung = expired.output or b"", True
        cpu, waited = times_of(child.pid)
    finally:
        _end(child)
    if child.returncode is not None:  # else it is not among those whose time is counted
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # What it waited for while Python was loaded counts twice: at worst it is tried once more, and longer.
    held_up = min((_loading(output, start) + waited) / deadline, 1.0) if hung else 0.0
    return read_outcome(output, hung=hung, cpu=cpu, held_up=held_up)


def times_of(pid: int, proc: str = "/proc") -> tuple[float | None, float]:
    """Seconds that process PID ran, None where the kernel does not tell, and that it waited for a processor, and for a
    disk where the kernel counts that. Infinite where it wants a processor just now: what it waits yet is in no count."""
    ran, waited = None, 0.0
    try:
        with open(f"{proc}/{pid}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()  # from the third on
        waited = float("inf") if fields[0] == "R" else int(fields[39]) / os.sysconf("SC_CLK_TCK")
        with open(f"{proc}/{pid}/schedstat", encoding="ascii") as file:
            on, queued, times = (int(word) for word in file.read().split())
    except (OSError, ValueError, IndexError):
        return ran, waited
    return (on / 1e9, waited + queued / 1e9) if times else (ran, waited)  # zeros: it counts nothing


def _loading(output: bytes, start: float) -> float:
    """Seconds from START until the child was ready to run the guest, by its OUTPUT; infinite where it was not."""
    word, told, _ = output.partition(b" ")
    try:
        return max(float(word) - start, 0.0) if told else 0.0 if output else float("inf")
    except ValueError:
        return 0.0


def read_outcome(output: bytes, *, hung: bool, cpu: float | None = None, held_up: float = 0.0) -> Outcome:
    """The outcome that the child's output (the time when it was ready, marks, then a line of JSON) tells."""
    marks, _, rest = output.decode("latin-1").partition("\n")
    marks = marks.rpartition(" ")[2]
    if hung:
        return Outcome(marks, HUNG, "", cpu, held_up)
    try:
        end, detail = json.loads(rest)
    except ValueError:
        return Outcome(marks, BROKEN, "the test ended without a result", cpu)
    return Outcome(marks, str(end), str(detail), cpu)


def _end(child: subprocess.Popen[bytes]) -> None:
    import subprocess

    child.kill()  # does nothing to one that has ended and was collected
    try:
        child.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        return
    finally:
        if child.stdout is not None:
            child.stdout.close()


# -- in the child


class Refused(Exception):
    """KVM said no to a request; the text names it."""


class Vcpu:
    """One virtual machine with 64 KiB of memory and one vcpu, in real mode at ENTRY, about to run CODE.

    Raises Refused. What it holds goes with the process.
    """

    def __init__(self, device: str, code: bytes) -> None:
        import ctypes
        import mmap

        try:
            kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"open: {error.strerror}") from None
        if self._ioctl("GET_API_VERSION", kvm, 0xAE00) != 12:
            raise Refused("its interface is not version 12")
        machine = self._ioctl("CREATE_VM", kvm, 0xAE01)
        # Three pages that Intel's CPUs before 2010 need to run real mode; just below 4 GiB, as a signed int.
        self._ioctl("SET_TSS_ADDR", machine, 0xAE47, 0xFFFBD000 - (1 << 32))
        self._memory = mmap.mmap(-1, MEMORY_SIZE)
        self._memory[ENTRY : ENTRY + len(code)] = code
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        region = bytearray(struct.pack("=IIQQQ", 0, 0, 0, MEMORY_SIZE, address))
        self._ioctl("SET_USER_MEMORY_REGION", machine, 0x4020AE46, region)
        self._vcpu = self._ioctl("CREATE_VCPU", machine, 0xAE41)
        cpuid = bytearray(struct.pack("=II", CPUID_ENTRIES, 0) + bytes(40 * CPUID_ENTRIES))
        self._ioctl("GET_SUPPORTED_CPUID", kvm, 0xC008AE05, cpuid)
        self._ioctl("SET_CPUID2", self._vcpu, 0x4008AE90, cpuid)  # else the guest may not set EFER.LME
        self._run = mmap.mmap(self._vcpu, self._ioctl("GET_VCPU_MMAP_SIZE", kvm, 0xAE04))
        self.failure = ""
        self._place_at_entry()

    def _place_at_entry(self) -> None:
        system = bytearray(312)
        self._ioctl("GET_SREGS", self._vcpu, 0x8138AE83, system)
        struct.pack_into("=QIH", system, 0, 0, 0xFFFF, 0)  # CS, the first: base, limit, selector
        self._ioctl("SET_SREGS", self._vcpu, 0x4138AE84, system)
        general = bytearray(struct.pack("=18Q", *[0] * 16, ENTRY, 0x2))  # ..., rip, rflags
        self._ioctl("SET_REGS", self._vcpu, 0x4090AE82, general)

    def marks(self) -> Iterator[str]:
        """Run the guest; each mark as it comes. Ends when it halts; ``failure`` says if anything else ended it."""
        while True:
            self._ioctl("RUN", self._vcpu, 0xAE80)
            reason, word = struct.unpack_from("=I", self._run, 8)[0], struct.unpack_from("=I", self._run, 32)[0]
            if reason == EXIT_IO:
                _, _, port, _, offset = struct.unpack_from("=BBHIQ", self._run, 32)
                if port != MARK_PORT:
                    self.failure = f"a write to port {port:#x}"
                    return
                yield chr(self._run[offset])
                continue
            if reason != EXIT_HLT:
                self.failure = f"KVM {EXIT_NAMES.get(reason, f'exit {reason}')}"
                self.failure += f" {word}" if reason == EXIT_INTERNAL_ERROR else ""
            return

    @staticmethod
    def _ioctl(name: str, file: int, number: int, argument: int | bytearray = 0) -> int:
        import fcntl

        while True:
            try:
                return fcntl.ioctl(file, number, argument)
            except InterruptedError:
                continue  # stopped and continued
            except OSError as error:
                raise Refused(f"KVM_{name}: {error.strerror}") from None


def run_guest(device: str, code: bytes, on_mark: Callable[[str], None]) -> tuple[str, str]:
    """Run CODE on DEVICE until it ends; ON_MARK gets each mark at once. Returns the end and its details."""
    try:
        vcpu = Vcpu(device, code)
        loop_start = 0.0
        for mark in vcpu.marks():
            on_mark(mark)
            if mark == "I":
                loop_start = time.thread_time()
            if mark == "M" and (spent := time.thread_time() - loop_start) > LOOP_BUDGET:
                return SLOW, f"{spent / LOOP_INSTRUCTIONS * 1e9:.0f} ns an instruction"
    except Refused as error:
        return REFUSED, str(error)
    return (FAILED, vcpu.failure) if vcpu.failure else (HALTED, "")


def _tell(mark: str) -> None:
    os.write(1, mark.encode("latin-1"))


def main() -> None:
    """The child: when it is ready, and marks as they come, to stdout; then the end and its details as a line of JSON."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(float(sys.argv[2])) + 1)  # should the parent be gone
    for name in ("ctypes", "mmap", "fcntl"):
        __import__(name)  # what the guest needs: nothing is loaded any more once it is ready
    _tell(f"{time.monotonic():.3f} ")
    end = run_guest(sys.argv[1], GUEST_CODE, _tell)
    os.write(1, b"\n" + json.dumps(end).encode())


if __name__ == "__main__":
    main()
