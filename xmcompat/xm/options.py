"""Reading the words after a verb, in the style that the verb's row names."""

from __future__ import annotations

from xmcompat.errors import UsageError
from xmcompat.light import NamedTuple
from xmcompat.xm.verbs import GNU, JSON, MIXED, NONE, POSIX, RAW, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


#: Asks for one JSON document in the place of xm's own text. Only this very word does, in every style.
JSON_WORD = "--json"
#: Options that ask for another text of xm's.
_OTHER_TEXTS = ("long", "short", "label", "cpus")


class BadOption(UsageError):
    """What getopt does not accept. ``xm`` shows the usage of the verb's own name after it."""


class Words(NamedTuple):
    """The words after a verb. ``events`` are (option, value) and ("", operand), in the order in which they count.

    An option goes by its long name, or by its letter where it has no other.
    """

    events: tuple[tuple[str, str], ...]

    @property
    def operands(self) -> list[str]:
        return [value for name, value in self.events if not name]

    def has(self, option: str) -> bool:
        return any(name == option for name, _ in self.events)

    def value(self, option: str, default: str = "") -> str:
        """The last value given for OPTION."""
        return next((value for name, value in reversed(self.events) if name == option), default)


def without_json(verb: Verb, words: Sequence[str]) -> tuple[list[str], bool]:
    """The WORDS that xm knew, and whether JSON is asked for: before "--", of a verb that has it to give."""
    if verb.name not in JSON or JSON_WORD not in words:
        return list(words), False
    end = list(words).index("--") if "--" in words else len(words)
    left = [word for word in words[:end] if word != JSON_WORD]
    return left + list(words[end:]), len(left) < end


def in_json(words: Words) -> Words:
    """WORDS with the option "json". Raises UsageError where they ask for another text of xm's too."""
    for name in _OTHER_TEXTS:
        if words.has(name):
            raise UsageError(f"--json and --{name} are two forms of one answer; choose one")
    return Words((("json", ""), *words.events))


def read(verb: Verb, words: Sequence[str]) -> Words:
    """The WORDS after VERB, split into options and operands.

    Short options cluster, long ones may be shortened while they stay unique, "--" ends the options. Raises BadOption
    with the words of getopt.
    """
    if verb.style == NONE and verb.counts is not None:
        words = words[: verb.counts[1]]  # "--" was not counted, and is a word like any other
    if verb.style in (NONE, RAW) or not any(word.startswith("-") for word in words):
        return Words(tuple(("", word) for word in words))
    names, letters, longs = _spec(verb.options)
    if verb.style == GNU and all(_is_plain(word, names, letters, longs) for word in words) and not _posix():
        flags = [(names[word], "") for word in words if word.startswith("-")]
        return Words((*flags, *(("", word) for word in words if not word.startswith("-"))))
    import getopt

    events: list[tuple[str, str]] = []
    rest = list(words)
    try:
        if verb.style == MIXED:
            while rest:
                pairs, rest = getopt.getopt(rest, letters, longs)
                events += [(names[flag], value) for flag, value in pairs]
                events += [("", operand) for operand in rest[:1]]
                del rest[:1]
        else:
            parse = getopt.getopt if verb.style == POSIX else getopt.gnu_getopt
            pairs, rest = parse(rest, letters, longs)
            events += [(names[flag], value) for flag, value in pairs]
            events += [("", operand) for operand in rest]
    except getopt.GetoptError as error:
        raise BadOption(error.msg) from None
    return Words(tuple(events))


def _is_plain(word: str, names: dict[str, str], letters: str, longs: Sequence[str]) -> bool:
    """Whether it is an operand, or one whole option that takes no value: loading getopt takes longer than a listing."""
    if not word.startswith("-"):
        return True
    return word in names and (word[2:] in longs if word.startswith("--") else f"{word[1]}:" not in letters)


def _posix() -> bool:
    import os

    return bool(os.environ.get("POSIXLY_CORRECT"))


def _spec(options: Sequence[str]) -> tuple[dict[str, str], str, list[str]]:
    """From options as help shows them: flag to name, and what getopt wants to know of letters and long names."""
    names: dict[str, str] = {}
    letters = ""
    longs = []
    for option in options:
        flags = option.split(", ")
        name = flags[-1].lstrip("-").partition("=")[0].partition(" ")[0]
        for flag in flags:
            if flag.startswith("--"):
                long, takes_value, _ = flag[2:].partition("=")
                longs.append(long + takes_value)
                names["--" + long] = name
            else:
                letters += flag[1] + (":" if len(flag) > 2 else "")
                names[flag[:2]] = name
    return names, letters, longs
