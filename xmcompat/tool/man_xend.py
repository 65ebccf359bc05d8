"""The manual page xend(1)."""

from __future__ import annotations

from collections.abc import Iterator

from xmcompat.render.man import Section

VERBS = (
    ("start [--foreground]", "Leave the daemon running and return when it is ready, also where it runs already. With "
                             "--foreground it is this very process, for service managers."),
    ("trace_start", "The same, with a log of everything."),
    ("stop", "Ask it to end, and do not wait. Guests run on, but for those with on_xend_stop."),
    ("restart", "Stop it, wait until it has ended, and start it."),
    ("reload", "Have it read its settings anew. Guests are not touched."),
    ("status", "Print nothing; exit with 0 where it runs and with 3 where it does not."),
)  # fmt: skip


def xend() -> Iterator[Section]:
    from xmcompat.xend.config_keys import XEND_KEYS

    yield Section(title="SYNOPSIS", paragraphs=["xend {start|stop|restart|reload|status|trace_start}"])
    yield Section(title="DESCRIPTION", paragraphs=[
        "The daemon does for guests what libvirt does not do by itself: what follows their ends, as on_poweroff, on_reboot "
        "and on_crash say, and what on_xend_start and on_xend_stop say. It starts libvirt where nothing else does. Guests "
        "do not depend on it.",
    ])  # fmt: skip
    yield Section(title="VERBS", entries=VERBS)
    yield Section(title="SETTINGS", paragraphs=["What the keys of xend-config.sxp become on KVM. The log tells it too."],
                  entries=[(f"{key.name} ({key.type.value})", f"{key.fate.value}: {key.meaning}.")
                           for key in XEND_KEYS.values()])  # fmt: skip
    yield Section(title="EXIT STATUS", entries=[
        ("0", "Done; of stop and reload, in any case."),
        ("1", "It could not be started, and stderr says why; or the command line was not understood, or it is not root's."),
        ("3", "Of status: it does not run."),
    ])  # fmt: skip
    yield Section(title="ENVIRONMENT", entries=[
        ("XEND_CONFIG", "A file of settings in the place of /etc/xen/xend-config.sxp."),
        ("XEND_RUN", "A folder in the place of /var/run, for xend.pid and xend."),
        ("XMCOMPAT_URI", "The hypervisor to talk to. Without it LIBVIRT_DEFAULT_URI, else qemu:///system."),
    ])  # fmt: skip
    yield Section(title="FILES", entries=[
        ("/etc/xen/xend-config.sxp", "Settings."),
        ("/var/log/xen/xend.log", "The log, in the place that the setting logfile names; xm log prints it."),
        ("/var/log/xen/xend-debug.log", "What the daemon and a libvirtd of its own say on stderr."),
        ("/var/run/xend.pid, /var/run/xend", "The number of the daemon, its lock, and the libvirtd that it has started."),
    ])  # fmt: skip
    yield Section(title="SEE ALSO", paragraphs=["xm(1), xmcompat(1), libvirtd(8)"])
