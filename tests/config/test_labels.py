"""The label in the text of a configuration: found where Python would find it, and changed without touching the rest."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.labels import label_of, labelled, unlabelled
from xmcompat.errors import ConfigError

PAIR = ("acme", "red")
PATH = "web1.cfg"


@pytest.mark.parametrize(
    "text",
    [
        "access_control = ['policy=acme,label=red']\n", 'access_control=["policy=acme,label=red"]',
        "access_control = [\n  'policy=acme,'\n  # why\n  'label=red',\n]\nname = 'a'\n".replace("acme,'\n", "acme,label=red'\n")
        .replace("  'label=red',\n", ""),
        "name = 'a'\r\naccess_control = ['label=red, policy=acme']\r\n",
        "access_control = ['policy=old,label=old']\naccess_control = ['policy=acme,label=red']\n",
        "if 1:\n    access_control = ['policy=acme,label=red']\n", "a = 1; access_control = ['policy=acme,label=red']\n",
        "access_control = [u'policy=acme,label=red']  # note\n", "access_control = ['policy=acme,' 'label=red']\n",
        "access_control = ['policy=acme,'\n    + 'label=red',]\n", "name = 'a'\raccess_control = ['policy=acme,label=red']\r",
        "\xef\xbb\xbfaccess_control = ['policy=acme,label=red']\n", "name = 'a'\\\r\n\raccess_control = ['policy=acme,label=red']",
    ],
)  # fmt: skip
def test_a_label_is_found(text: str) -> None:
    assert label_of(text, PATH) == PAIR


@pytest.mark.parametrize(
    "text",
    [
        "", "name = 'a'\n", "# access_control = ['policy=acme,label=red']\n", "access_control = []\n",
        "extra = \"access_control = ['policy=acme,label=red']\"\n", "access_control == ['policy=acme,label=red']\n",
        "extra = '''\naccess_control = ['policy=acme,label=red']\n'''\n", "my_access_control = ['policy=acme,label=red']\n",
    ],
)  # fmt: skip
def test_there_is_no_label(text: str) -> None:
    assert label_of(text, PATH) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\naccess_control = [LABEL]\n", "web1.cfg:2: the value of access_control is not a list of plain texts"),
        ("access_control = ['policy=%s,label=red' % p]\n", "web1.cfg:1: the value of access_control is not a list of plain"),
        ("access_control = ['policy=a,label=b', 'policy=c,label=d']\n", "Multiple access_control definitions."),
        ("access_control = ['red']\n", "red should be a pair, separated by an equals sign."),
        ("a = '''\n", "web1.cfg:1: a text is not closed"),
        ("a = 1\naccess_control += ['policy=a,label=b']\n", "web1.cfg:2: access_control is changed after it was set"),
    ],
)
def test_what_only_running_it_could_tell_is_an_error(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        label_of(text, PATH)
    assert raised.value.line().startswith(complaint)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "access_control = ['policy=acme,label=red']\n"),
        ("name = 'a'", "name = 'a'\naccess_control = ['policy=acme,label=red']\n"),
        ("name = 'a'\r\n", "name = 'a'\r\naccess_control = ['policy=acme,label=red']\r\n"),
        ("name = 'a'\r\nmemory = 64", "name = 'a'\r\nmemory = 64\r\naccess_control = ['policy=acme,label=red']\r\n"),
        ("name = 'a'\r", "name = 'a'\raccess_control = ['policy=acme,label=red']\r"),
    ],
)
def test_a_label_is_a_line_at_the_end(before: str, after: str) -> None:
    assert labelled(before, PATH, policy="acme", label="red") == after


@pytest.mark.parametrize("text", ["disk = [\n", "a = '''b\n", "f(\n"])
def test_a_line_that_would_not_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not closed"):
        labelled(text, PATH, policy="acme", label="red")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1\naccess_control = ['policy=p,label=l']  # x\nb = 2\n",
         "a = 1\n# access_control = ['policy=p,label=l']  # x\nb = 2\n"),
        ("access_control = [\n 'policy=p,label=l'\n]\n", "# access_control = [\n#  'policy=p,label=l'\n# ]\n"),
        ("if 1:\n  access_control = ['policy=p,label=l']\n", "if 1:\n  pass  # access_control = ['policy=p,label=l']\n"),
        ("access_control = ['policy=p,label=l']\r\n\xff\n", "# access_control = ['policy=p,label=l']\r\n\xff\n"),
        ("a = 1\raccess_control = [\r'policy=p,label=l']\r", "a = 1\r# access_control = [\r# 'policy=p,label=l']\r"),
        ("\xef\xbb\xbfaccess_control = ['policy=p,label=l']\n", "\xef\xbb\xbf# access_control = ['policy=p,label=l']\n"),
    ],
)  # fmt: skip
def test_a_label_becomes_a_comment(before: str, after: str) -> None:
    assert unlabelled(before, PATH) == after
    assert label_of(after, PATH) is None


@pytest.mark.parametrize("text", ["a = 1; access_control = ['policy=p,label=l']\n", "if 1: access_control = ['policy=p,label=l']\n",
                                  "access_control = ['policy=p,label=l']; a = 1\n"])  # fmt: skip
def test_a_line_with_other_settings_is_not_made_a_comment(text: str) -> None:
    with pytest.raises(ConfigError, match="shares its line"):
        unlabelled(text, PATH)


def test_many_assignments_take_no_time() -> None:
    text = "access_control = ['policy=p,label=l']\n" * 20_000
    began = time.process_time()
    assert unlabelled(text, PATH) == "# access_control = ['policy=p,label=l']\n" * 20_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize("word", ["\xe0", "\xc5", "r\xf6t", "\udcff\udca0"])
def test_a_word_whose_last_byte_is_a_blank_elsewhere_is_kept(word: str) -> None:
    text = labelled("", PATH, policy=word, label=word)
    assert text.encode("latin-1").decode("utf-8", "surrogateescape") == f"access_control = ['policy={word},label={word}']\n"
    assert label_of(text, PATH) == (word, word)


LINES = st.lists(
    st.sampled_from(["name = 'a'", "# x", "disk = ['phy:a,xvda,w']", "", "extra = \"it's\"", "if 1:\n  x = [1,\n 2]", "a=1;b=2", "\xe9=\xff"]),
    max_size=6,
)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_taking_back_what_was_put_in_leaves_the_rest_as_it_was(lines: list[str], newline: str, ended: bool) -> None:
    text = newline.join(lines) + (newline if ended else "")
    more = labelled(text, PATH, policy="acme", label="red")
    assert more.startswith(text)
    assert label_of(more, PATH) == PAIR
    less = unlabelled(more, PATH)
    assert less.startswith(text)
    assert label_of(less, PATH) is None


@given(st.text(alphabet="access_control = ['policy=a,label=b']\n\r#;:({\"\\", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        label_of(text, PATH)
        unlabelled(text, PATH)
    except ConfigError:
        return
