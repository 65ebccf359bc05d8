"""Finding, reading and overriding a configuration: which file, which words, which errors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmcompat.config.load import LARGEST, find_config, load, load_sxp, parse_words
from xmcompat.errors import ConfigError, ConfigNotFound, ConfigSyntax, UnsupportedConfig, UsageError, XmError
from xmcompat.guest import Dialect, FirmwareBoot, KernelBoot, LoaderBoot
from xmcompat.migration import save_file
from xmcompat.notes import Fate, Note


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k").touch()
    return tmp_path


def write(here: Path, text: str | bytes, name: str = "web1.cfg") -> str:
    data = text.encode() if isinstance(text, str) else text
    (here / name).write_bytes(data)
    return f"./{name}"


def refusal(path: str, *words: str) -> str:
    with pytest.raises(XmError) as caught:
        load(path, words=words)
    return caught.value.line()


def note(notes: tuple[Note, ...], key: str) -> Note:
    (found,) = [entry for entry in notes if entry.key == key]
    return found


# -- which file


def test_the_name_as_it_is_comes_before_the_search_path(here: Path) -> None:
    write(here, "", "web1")
    (here / "etc").mkdir()
    write(here / "etc", "", "web1")
    assert find_config("web1", search_path=f"{here}/etc") == "./web1"


def test_the_search_path_in_order(here: Path) -> None:
    for folder in ("a", "b"):
        (here / folder).mkdir()
    write(here / "b", "", "web1")
    assert find_config("web1", search_path=f"a:{here}/b:b") == f"{here}/b/web1"
    assert find_config("web1", search_path="a:b") == "./b/web1"
    write(here / "a", "", "web1")
    assert find_config("web1", search_path="a:b") == "./a/web1"


def test_the_current_directory_is_a_choice(here: Path) -> None:
    (here / "elsewhere").mkdir()
    write(here / "elsewhere", "", "web1")
    assert find_config("web1", cwd=str(here / "elsewhere")) == "./web1"


@pytest.mark.parametrize(("name", "shown"), [("./web1", "./web1"), ("web1", "./web1"), ("x/../web1", "./x/../web1")])
def test_relative_names_begin_with_a_dot(here: Path, name: str, shown: str) -> None:
    write(here, "", "web1")
    (here / "x").mkdir()
    assert find_config(name) == shown


def test_absolute_names_are_themselves(here: Path) -> None:
    write(here, "", "web1")
    assert find_config(f"{here}/web1") == f"{here}/web1"


def test_no_name_is_xmdefconfig(here: Path) -> None:
    write(here, "", "xmdefconfig")
    assert find_config() == find_config(None) == "./xmdefconfig"


@pytest.mark.parametrize("name", ["nope", "/nope", "dir", "a\0b"])
def test_a_file_that_is_nowhere(here: Path, name: str) -> None:
    (here / "dir").mkdir()
    with pytest.raises(ConfigNotFound) as caught:
        find_config(name, search_path=".:/nowhere")
    assert caught.value.line() == f"Unable to open config file: {name}"
    assert caught.value.exit_code == 1


# -- which words


def test_known_names_are_settings_and_others_are_the_scripts() -> None:
    words = parse_words(["memory=256", "name=x", "vmid= 3 ", " i = j ", "vcpu_avail=3", "maxvcpus=4", "cap=50"])
    assert words.values == {"memory": 256, "name": "x", "vcpu_avail": 3}
    assert words.variables == {"vmid": "3", "i": "j", "maxvcpus": "4", "cap": "50"}


def test_lists_gather_and_the_last_of_the_others_wins() -> None:
    words = parse_words(["disk=a", "memory=1", "disk=b", "vif=", "memory=2"])
    assert words.values == {"disk": ["a", "b"], "memory": 2, "vif": [""]}


def test_a_value_may_hold_equals_signs() -> None:
    assert parse_words(["extra=a=b c=d"]).values == {"extra": "a=b c=d"}


@pytest.mark.parametrize(("text", "value"), [("yes", 1), ("y", 1), ("no", 0), ("n", 0)])
def test_booleans_are_yes_and_no(text: str, value: int) -> None:
    assert parse_words([f"localtime={text}"]).values == {"localtime": value}


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("localtime=1", "Invalid value:1"),
        ("usb=0", "Invalid value:0"),
        ("stdvga=Yes", "Invalid value:Yes"),
        ("memory=abc", "Invalid value: abc"),
        ("memory=", "Invalid value: "),
        ("memory=1_000", "Invalid value: 1_000"),
        ("memory=0x10", "Invalid value: 0x10"),
        ("vcpus=1.5", "Invalid value: 1.5"),
        ("vcpu_avail=x", "Invalid value: x"),
        ("memory=" + "9" * 5000, "Invalid value: " + "9" * 5000),
    ],
)
def test_what_is_no_number_and_no_boolean(word: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_words([word])
    assert caught.value.line() == line


def test_numbers_may_have_a_sign_and_blanks() -> None:
    assert parse_words(["memory= 64 ", "rtc_timeoffset=-3600"]).values == {"memory": 64, "rtc_timeoffset": -3600}


def test_a_word_without_an_equals_sign_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(UsageError):
        parse_words(["web1"])


# -- the two together


def test_a_small_file(here: Path) -> None:
    path = write(here, "kernel = 'k'\nmemory = 1024/3\nroot = '/dev/xvda1 ro'\nextra = '3'\n")
    loaded = load(path)
    assert loaded.path == "./web1.cfg"
    assert loaded.printed == ""
    assert loaded.guest.name == "web1.cfg"
    assert loaded.guest.memory == 341
    assert loaded.guest.boot == KernelBoot(kernel=f"{here}/k", cmdline="root=/dev/xvda1 ro 3")
    assert loaded.guest.lines == {"kernel": 1, "memory": 2, "root": 3, "extra": 4}
    assert loaded.guest.dialect is Dialect.XM


def test_the_command_line_wins_over_the_file(here: Path) -> None:
    path = write(here, "kernel='k'\nmemory=64\ndisk=['phy:a,xvda,w']\nlocaltime=1\n")
    loaded = load(path, words=["memory=128", "disk=phy:b,xvda,w", "disk=phy:c,xvdb,w", "localtime=no", "name=x"])
    assert loaded.guest.memory == 128
    assert [disk.uname for disk in loaded.guest.disks] == ["phy:b", "phy:c"]
    assert loaded.guest.localtime is False
    assert loaded.guest.name == "x"
    assert note(loaded.notes, "memory").line is None
    assert note(loaded.notes, "kernel").line == 1


def test_variables_of_the_script(here: Path) -> None:
    path = write(here, "kernel='k'\nname = 'node%02d' % int(vmid)\nprint 'vmid is', repr(vmid)\n")
    loaded = load(path, words=["vmid=3"])
    assert loaded.guest.name == "node03"
    assert loaded.printed == "vmid is '3'\n"


def test_a_variable_that_the_script_leaves_alone_is_a_value_too(here: Path) -> None:
    path = write(here, "kernel='k'\nvcpus=1\n")
    loaded = load(path, words=["maxvcpus=4"])
    assert (loaded.guest.vcpus, loaded.guest.vcpus_online) == (4, 1)


def test_wrong_words_are_told_before_the_file_is_read(here: Path) -> None:
    assert refusal("./nowhere", "memory=x") == "Invalid value: x"


def test_byte_order_mark_and_line_ends_of_other_systems(here: Path) -> None:
    path = write(here, b"\xef\xbb\xbfkernel = 'k'\r\nmemory = 64\r\n")
    assert load(path).guest.memory == 64


def test_letters_of_any_encoding(here: Path) -> None:
    assert load(write(here, "kernel='k'\ndescription='é'\n")).guest.description == "é"
    assert load(write(here, b"kernel='k'\ndescription='\xe9'\n")).guest.description == "é"


# -- values that xm ignores


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("localtime = True", "write 1"),
        ("localtime = False", "write 0"),
        ("disk = ('phy:a,xvda,w',)", "write a list, in brackets"),
        ("name = u'x'", "leave out the u"),
        ("memory = 256L", "leave out the L"),
        ("memory = None", "write a number, a text or a list"),
    ],
)
def test_an_ignored_value_is_said_aloud(here: Path, text: str, suggestion: str) -> None:
    path = write(here, f"kernel='k'\n{text}\n")
    loaded = load(path)
    found = note(loaded.notes, text.split()[0])
    assert (found.fate, found.suggestion, found.line, found.harmless) == (Fate.NO_MEANING, suggestion, 2, False)
    assert (loaded.guest.localtime, loaded.guest.disks, loaded.guest.memory) == (False, (), 128)
    assert loaded.guest.name == "web1.cfg"


def test_an_ignored_value_that_the_command_line_replaces_is_no_matter(here: Path) -> None:
    loaded = load(write(here, "kernel='k'\nlocaltime = True\n"), words=["localtime=yes"])
    assert note(loaded.notes, "localtime").fate is Fate.CARRIED
    assert loaded.guest.localtime is True


def test_an_ignored_value_of_a_name_without_meaning_is_no_matter(here: Path) -> None:
    loaded = load(write(here, "kernel='k'\nverbose = True\n"))
    assert note(loaded.notes, "verbose").harmless is True


def test_every_name_of_the_file_has_one_note(here: Path) -> None:
    path = write(here, "kernel='k'\nmemory=64\nvif=['']\narch='x'\nlocaltime=True\ncap=3\nt=(1,)\n")
    keys = [entry.key for entry in load(path).notes]
    assert sorted(keys) == ["arch", "cap", "kernel", "localtime", "memory", "t", "vif"]


# -- kernels


def test_a_kernel_must_be_there(here: Path) -> None:
    path = write(here, "kernel = '/boot/nope'\n")
    assert refusal(path) == 'Cannot find kernel "/boot/nope"'
    path = write(here, "kernel = 'k'\nramdisk = 'nope'\n")
    assert refusal(path) == f'Cannot find ramdisk "{here}/nope"'


def test_a_directory_is_no_kernel(here: Path) -> None:
    path = write(here, f"kernel = '{here}'\n")
    assert refusal(path) == f'Cannot find kernel "{here}"'


def test_relative_kernels_are_sought_in_the_current_directory_not_the_files(here: Path) -> None:
    (here / "conf").mkdir()
    (here / "conf" / "web1").write_text("kernel = 'k'\n")
    boot = load("conf/web1").guest.boot
    assert boot == KernelBoot(kernel=f"{here}/k")


def test_nothing_is_looked_for_where_a_boot_loader_is_named(here: Path) -> None:
    path = write(here, "bootloader = 'pygrub'\nkernel = '/boot/vmlinuz-in-the-guest'\n")
    assert load(path).guest.boot == LoaderBoot(bootloader="pygrub")


def test_xens_firmware_need_not_be_there(here: Path) -> None:
    path = write(here, "builder='hvm'\nkernel = '/usr/lib/xen/boot/hvmloader'\nboot='cd'\n")
    assert load(path).guest.boot == FirmwareBoot(order="cd")
    path = write(here, "builder='hvm'\nkernel = 'hvmloader'\n")
    assert load(path).guest.boot == FirmwareBoot(order="c")


def test_a_kernel_behind_xens_firmware_must_be_there(here: Path) -> None:
    path = write(here, "builder='hvm'\nkernel='/nope'\nloader='/usr/lib/xen/boot/hvmloader'\n")
    assert refusal(path) == 'Cannot find kernel "/nope"'


# -- files that are something else


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"LinuxGuestRecord\0\0", "this is a saved guest of Xen; its memory cannot be used on KVM"),
        (save_file.header("(domain (name a))", 1 << 20, 4096) + bytes(2 << 20), "this is a saved guest; 'xm restore ./web1.cfg' starts it"),
        (b"Xen saved domain, xl format\n", "this is a saved guest of Xen; its memory cannot be used on KVM"),
        (b"<domain type='kvm'>", "this is libvirt's XML; use virsh for libvirt's XML"),
        (b"<?xml version='1.0'?>", "this is XML; use virsh for libvirt's XML"),
        (b'{ "domid": 1 }', "this is JSON, as xl prints it; use the configuration file itself"),
        (b'[\n { "domid": 1 } ]', "this is JSON, as xl prints it; use the configuration file itself"),
        (b"\x7fELF\x02", "this is no text"),
        (b"a\0b", "this is no text"),
        (b"# comment\n(vm (name x))", "this is an SXP file; use: xm create -F ./web1.cfg"),
        (b" (domain\n (name x))", "this is an SXP file; use: xm create -F ./web1.cfg"),
    ],
)
def test_other_kinds_of_files_are_named(here: Path, data: bytes, reason: str) -> None:
    assert refusal(write(here, data)) == f"./web1.cfg: {reason}"


def test_a_file_that_is_too_large(here: Path) -> None:
    path = write(here, b"#" * (LARGEST + 1))
    assert refusal(path) == "./web1.cfg: this is larger than 1024 KiB: no guest configuration"


def test_a_directory_and_a_file_that_went_away(here: Path) -> None:
    (here / "dir").mkdir()
    assert refusal("./dir") == "./dir: Is a directory"
    assert refusal("./gone") == "./gone: No such file or directory"


@pytest.mark.parametrize("loader", [load, load_sxp])
def test_a_file_that_may_not_be_read(here: Path, monkeypatch: pytest.MonkeyPatch, loader: object) -> None:
    path = write(here, "")

    def refuse(name: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("xmcompat.config.load.os.open", refuse)
    with pytest.raises(ConfigError) as caught:
        loader(path)  # type: ignore[operator]
    assert caught.value.line() == "./web1.cfg: Permission denied"


def test_a_directory_that_was_removed_under_the_feet(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here / "web1.cfg"
    path.write_text(f"kernel = '{here}/k'\n")
    (here / "gone").mkdir()
    monkeypatch.chdir(here / "gone")
    (here / "gone").rmdir()
    assert load(str(path)).guest.name == "web1.cfg"
    path.write_text("kernel = 'k'\n")
    assert refusal(str(path)) == 'Cannot find kernel "/k"'
    monkeypatch.chdir(here)


# -- kinds of errors


def test_the_classes_of_errors_tell_what_went_wrong(here: Path) -> None:
    with pytest.raises(ConfigSyntax):
        load(write(here, "memory = = 3\n"))
    with pytest.raises(UnsupportedConfig):
        load(write(here, "<x>"))
    with pytest.raises(ConfigNotFound):
        find_config("nope", search_path=".")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="()'ab \n=[]12#\\x", max_size=60).map(str.encode))
def test_no_file_fails_but_as_an_error_of_ours(here: Path, data: bytes) -> None:
    path = write(here, data)
    for read in (load, load_sxp):
        with suppress(XmError):
            read(path)


# -- a file of xl's


def test_a_file_that_is_beyond_doubt_xls_is_read_as_xms_with_one_warning(here: Path) -> None:
    loaded = load(write(here, "kernel='k'\nname='a'\nnestedhvm=1\nmemory=64\n"))
    assert (loaded.guest.dialect, loaded.guest.on_crash.value) == (Dialect.XM, "restart")
    found = note(loaded.notes, "(file)")
    assert not found.harmless
    assert "xmcompat convert --to cfg" in found.text()


def test_an_error_in_such_a_file_says_so_too(here: Path) -> None:
    path = write(here, "kernel='k'\nname='a'\ndisk=['/dev/vg0/a,raw,xvda,rw']\n")
    assert refusal(path).startswith("Invalid mode; ") or refusal(path).startswith("Invalid disk specifier: ")
    assert refusal(path).endswith(
        "it looks like a file of xl, which reads it otherwise; xmcompat convert --to cfg gives one of xm"
    )


def test_a_file_that_both_read_has_no_warning(here: Path) -> None:
    notes = load(write(here, "kernel='k'\nname='a'\n")).notes
    assert not {"(file)", "(dialect)"} & {entry.key for entry in notes}
