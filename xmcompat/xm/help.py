"""``xm help``, and the usage that follows an error."""

from __future__ import annotations

import sys

from xmcompat.render import help as layout
from xmcompat.xm import helptexts
from xmcompat.xm.options import Words
from xmcompat.xm.verbs import COMMON, GROUPS, HELP, HIDDEN, VERBS, Verb


def full_help(words: Words) -> int:
    """``xm help``: every verb but the hidden ones. Further words are ignored."""
    rows = [_row(verb.name) for group in GROUPS.values() for verb in group]
    sys.stdout.write(layout.full_help(helptexts.TAGLINE, rows, helptexts.FOOTER))
    return 0


def short_help_text() -> str:
    """What ``xm`` alone prints, and what follows a word that is no verb."""
    rows = [_row(name) for name in COMMON]
    return layout.short_help(helptexts.TAGLINE, rows, helptexts.FOOTER, helptexts.POINTER)


def _row(name: str) -> tuple[str, str]:
    return name, helptexts.DESCRIPTIONS[name]


def usage_text(word: str) -> str:
    """The usage of the verb WORD, or of the first one that begins like it; the short help where none does.

    An alias is no verb: ``xm balloon`` leads to the short help.
    """
    verb = _verb_of(word)
    if verb is None:
        return short_help_text()
    texts = helptexts.OPTIONS.get(verb.name, {})
    options = [(option, texts[option]) for option in verb.options if option in texts]
    own = verb.name in helptexts.OWN_LAYOUT
    text = layout.usage(verb.name, verb.synopsis, helptexts.DESCRIPTIONS[verb.name], () if own else options)
    return text + layout.own_options("Options", options) if own and options else text


def _verb_of(word: str) -> Verb | None:
    known = [*(verb for group in GROUPS.values() for verb in group), HELP, *HIDDEN]
    if word in VERBS:
        return VERBS[word]
    return next((verb for verb in known if verb.name.startswith(word)), None)


def after_usage(name: str) -> str:
    """What an error of the options of verb NAME adds after its usage: a text of its own, or nothing."""
    return helptexts.USES.get(name, "")
