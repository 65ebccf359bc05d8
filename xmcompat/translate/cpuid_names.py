"""Names of processor features: which bit of CPUID libvirt calls what. Values only.

The names are those that libvirt 9.0 knows. A test compares them with libvirt's own table where that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping

#: By leaf, subleaf and register: the names by their bits.
_TABLE: Mapping[tuple[int, int, str], Mapping[int, str]] = {
    (0x1, 0, "ecx"): {
        0: "pni", 1: "pclmuldq", 2: "dtes64", 3: "monitor", 4: "ds_cpl", 5: "vmx", 6: "smx", 7: "est", 8: "tm2",
        9: "ssse3", 10: "cid", 12: "fma", 13: "cx16", 14: "xtpr", 15: "pdcm", 17: "pcid", 18: "dca", 19: "sse4.1",
        20: "sse4.2", 21: "x2apic", 22: "movbe", 23: "popcnt", 24: "tsc-deadline", 25: "aes", 26: "xsave",
        27: "osxsave", 28: "avx", 29: "f16c", 30: "rdrand", 31: "hypervisor",
    },
    (0x1, 0, "edx"): {
        0: "fpu", 1: "vme", 2: "de", 3: "pse", 4: "tsc", 5: "msr", 6: "pae", 7: "mce", 8: "cx8", 9: "apic", 11: "sep",
        12: "mtrr", 13: "pge", 14: "mca", 15: "cmov", 16: "pat", 17: "pse36", 18: "pn", 19: "clflush", 21: "ds",
        22: "acpi", 23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2", 27: "ss", 28: "ht", 29: "tm", 30: "ia64", 31: "pbe",
    },
    (0x6, 0, "eax"): {2: "arat"},
    (0x7, 0, "ebx"): {
        0: "fsgsbase", 1: "tsc_adjust", 2: "sgx", 3: "bmi1", 4: "hle", 5: "avx2", 7: "smep", 8: "bmi2", 9: "erms",
        10: "invpcid", 11: "rtm", 12: "cmt", 14: "mpx", 16: "avx512f", 17: "avx512dq", 18: "rdseed", 19: "adx",
        20: "smap", 21: "avx512ifma", 22: "pcommit", 23: "clflushopt", 24: "clwb", 25: "intel-pt", 26: "avx512pf",
        27: "avx512er", 28: "avx512cd", 29: "sha-ni", 30: "avx512bw", 31: "avx512vl",
    },
    (0x7, 0, "ecx"): {
        1: "avx512vbmi", 2: "umip", 3: "pku", 4: "ospke", 5: "waitpkg", 6: "avx512vbmi2", 8: "gfni", 9: "vaes",
        10: "vpclmulqdq", 11: "avx512vnni", 12: "avx512bitalg", 14: "avx512-vpopcntdq", 16: "la57", 22: "rdpid",
        24: "bus-lock-detect", 25: "cldemote", 27: "movdiri", 28: "movdir64b", 30: "sgxlc", 31: "pks",
    },
    (0x7, 0, "edx"): {
        2: "avx512-4vnniw", 3: "avx512-4fmaps", 4: "fsrm", 8: "avx512-vp2intersect", 10: "md-clear", 14: "serialize",
        16: "tsx-ldtrk", 18: "pconfig", 19: "arch-lbr", 22: "amx-bf16", 23: "avx512-fp16", 24: "amx-tile",
        25: "amx-int8", 26: "spec-ctrl", 27: "stibp", 29: "arch-capabilities", 30: "core-capability", 31: "ssbd",
    },
    (0x7, 1, "eax"): {4: "avx-vnni", 5: "avx512-bf16"},
    (0xd, 1, "eax"): {0: "xsaveopt", 1: "xsavec", 2: "xgetbv1", 3: "xsaves", 4: "xfd"},
    (0xf, 1, "edx"): {1: "mbm_total", 2: "mbm_local"},
    (0x12, 0, "eax"): {0: "sgx1", 1: "sgx2"},
    (0x12, 0, "ebx"): {0: "sgx-exinfo"},
    (0x12, 1, "eax"): {1: "sgx-debug", 2: "sgx-mode64", 4: "sgx-provisionkey", 5: "sgx-tokenkey", 7: "sgx-kss"},
    (0x14, 0, "ecx"): {31: "intel-pt-lip"},
    (0x80000001, 0, "ecx"): {
        0: "lahf_lm", 1: "cmp_legacy", 2: "svm", 3: "extapic", 4: "cr8legacy", 5: "abm", 6: "sse4a", 7: "misalignsse",
        8: "3dnowprefetch", 9: "osvw", 10: "ibs", 11: "xop", 12: "skinit", 13: "wdt", 15: "lwp", 16: "fma4", 17: "tce",
        18: "cvt16", 19: "nodeid_msr", 21: "tbm", 22: "topoext", 23: "perfctr_core", 24: "perfctr_nb",
    },
    (0x80000001, 0, "edx"): {
        11: "syscall", 20: "nx", 22: "mmxext", 25: "fxsr_opt", 26: "pdpe1gb", 27: "rdtscp", 29: "lm", 30: "3dnowext",
        31: "3dnow",
    },
    (0x80000007, 0, "edx"): {8: "invtsc"},
    (0x80000008, 0, "ebx"): {
        0: "clzero", 2: "xsaveerptr", 9: "wbnoinvd", 12: "ibpb", 14: "ibrs", 15: "amd-stibp", 24: "amd-ssbd",
        25: "virt-ssbd", 26: "amd-no-ssb",
    },
    (0x8000000A, 0, "edx"): {
        0: "npt", 1: "lbrv", 2: "svm-lock", 3: "nrip-save", 4: "tsc-scale", 5: "vmcb-clean", 6: "flushbyasid",
        7: "decodeassists", 10: "pause-filter", 12: "pfthreshold", 13: "avic", 15: "v-vmsave-vmload", 16: "vgif",
        28: "svme-addr-chk",
    },
}  # fmt: skip

#: Names by (leaf, subleaf, register, bit).
NAMES: Mapping[tuple[int, int, str, int], str] = {
    (*place, bit): name for place, names in _TABLE.items() for bit, name in names.items()
}

#: What libvirt has a name for and QEMU none: a guest cannot have them, nor be without them by a setting.
NOT_IN_QEMU = frozenset(["cmt", "mbm_total", "mbm_local", "pconfig", "cvt16"])
#: Bits that show what the guest's own kernel has switched on.
SET_BY_GUEST = frozenset(["osxsave", "ospke"])

#: xl's names of flags, where they are not libvirt's but for "-", "_" and ".".
_XL_NAMES = {
    "sse3": "pni", "pclmulqdq": "pclmuldq", "cntxid": "cid", "cmpxchg16": "cx16", "cmpxchg8": "cx8", "sysenter": "sep",
    "psn": "pn", "clfsh": "clflush", "htt": "ht", "proctrace": "intel-pt", "sha": "sha-ni", "ibrsb": "spec-ctrl",
    "archcaps": "arch-capabilities", "corecaps": "core-capability", "lahfsahf": "lahf_lm", "lahf": "lahf_lm",
    "altmovcr8": "cr8legacy", "nodeid": "nodeid_msr", "ffxsr": "fxsr_opt", "page1gb": "pdpe1gb",
    "rstrfperrptrs": "xsaveerptr", "ssbno": "amd-no-ssb", "svmnpt": "npt", "svmlbrv": "lbrv", "svmnrips": "nrip-save",
    "svmtscrate": "tsc-scale", "svmvmcbclean": "vmcb-clean", "svmdecode": "decodeassists",
    "svmpausefilt": "pause-filter",
}  # fmt: skip


def _plain(word: str) -> str:
    return word.lower().translate({ord(mark): None for mark in "-_."})


_BY_PLAIN_NAME = {_plain(name): name for name in NAMES.values()} | _XL_NAMES


def name_of_flag(flag: str) -> str:
    """libvirt's name for what xl's cpuid calls FLAG, "" for none."""
    return _BY_PLAIN_NAME.get(_plain(flag), "")
