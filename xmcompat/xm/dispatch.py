"""From the words of a command line to the function of a verb."""

from __future__ import annotations

import sys
from importlib import import_module

from xmcompat.errors import CountError, UsageError, XmError
from xmcompat.xm import options
from xmcompat.xm.verbs import ALIASES, HELP, MIXED, UNCOUNTED, VERBS, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class UnknownVerb(XmError):
    """No verb is called that, and not exactly one begins so."""


def dispatch(words: Sequence[str]) -> int:
    """Run the command line WORDS (without the program's name); returns its status.

    Raises UnknownVerb, and what the verb raises. Source of the order: xm of Xen 4.1.
    """
    if not words:
        from xmcompat.xm.help import short_help_text

        sys.stdout.write(short_help_text())
        return 1
    for flag in ("--help", "-h"):
        if flag in words:
            return _help_for(words[0], flag)
    verb = find(words[0])
    given, as_json = options.without_json(verb, words[1:])
    check_count(verb, given)
    try:
        parsed = options.read(verb, given)
        parsed = options.in_json(parsed) if as_json else parsed
    except UsageError as error:
        error.usage_of = verb.name
        if verb.style == MIXED:
            raise with_use(error, verb.name) from None
        raise
    if parsed.has("help"):  # in a cluster, or shortened
        return _help_for(verb.name, "--help")
    return _run(verb, parsed)


def _help_for(word: str, flag: str) -> int:
    """``xm --help`` is asked for and succeeds; ``xm VERB --help`` shows the usage and ends in 1, as with xm."""
    from xmcompat.xm import help as help_verb

    if word == flag:
        return help_verb.full_help(options.Words(()))
    sys.stdout.write(help_verb.usage_text(word))
    return 1


def find(word: str) -> Verb:
    """The verb that WORD means: a name, an alias (said on stderr), or the beginning of just one name.

    Raises UnknownVerb.
    """
    if word in ALIASES and word not in VERBS:
        sys.stderr.write(f"Command {word} is deprecated.  Please use xm {ALIASES[word]} instead.\n")
    verb = known(word)
    if verb is None:
        raise UnknownVerb(f"Subcommand {word} not found!")
    return verb


def known(word: str) -> Verb | None:
    """The same in silence; None for a word that is no verb."""
    name = word if word in VERBS else ALIASES.get(word)
    if name is not None:
        return VERBS[name]
    if word == HELP.name:
        return HELP
    meant = [name for name in VERBS if name.startswith(word)] if len(word) >= 2 else []
    return VERBS[meant[0]] if len(meant) == 1 else None


def check_count(verb: Verb, words: Sequence[str]) -> None:
    """Raise CountError where VERB wants another number of words; "--" is none, an option of xm's is one."""
    if verb.counts is None:
        return
    least, most = verb.counts
    passed = {"--", *UNCOUNTED.get(verb.name, ())}
    if least <= sum(word not in passed for word in words) <= most:
        return
    wanted = f"{least} arguments" if least == most else f"between {least} and {most} arguments"
    error = CountError(f"'xm {verb.name}' requires {wanted}.")
    error.usage_of = verb.name
    raise error


def with_use(error: XmError, name: str) -> UsageError:
    """ERROR, as one after which ``xm`` prints the usage of verb NAME and then the text about its use."""
    from xmcompat.xm.help import after_usage

    shown = UsageError(error.line())
    shown.usage_of = name
    shown.after = after_usage(name)
    return shown


def _run(verb: Verb, words: options.Words) -> int:
    module, _, function = verb.run.partition(":")
    status: int = getattr(import_module(f"xmcompat.xm.{module}"), function)(words)
    return status
