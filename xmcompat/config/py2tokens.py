"""Python 2 spelling to Python 3 spelling, token by token, so that a Python 3 parser accepts it. Pure.

Line numbers stay. What only Python 2 has becomes a call of a name that begins with "_", which no configuration may
use itself: ``10L`` is ``_long_(10)``, ``u'x'`` is ``_unicode_('x')``, ``print a`` is ``_print_(a)``.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from xmcompat.errors import ConfigLimit, ConfigSyntax, PythonSyntax, UnsafeConfig, UnsupportedConfig

_STRING = r"""[uUbBrR]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
_NUMBER = (
    r"0[xX][0-9a-fA-F]+[lL]?|0[bB][01]+[lL]?|0[oO][0-7]+[lL]?"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[lLjJ]?"
)
#: One word, sign, text, comment or run of blanks; nothing lies between two of them.
TOKEN = re.compile(
    rf"""(?P<comment>\#[^\n]*)|(?P<string>{_STRING})|(?P<open>[uUbBrR]{{0,2}}(?:'''|\"\"\"))|(?P<number>{_NUMBER})|(?P<name>[^\W\d]\w*)
    |(?P<join>\\\n)|(?P<newline>\n)|(?P<space>[ \t\f\r]+)|(?P<op><>|[-+*/%&|^<>=!]=|\*\*=?|//=?|>>=?|<<=?|.)""",
    re.VERBOSE | re.DOTALL,
)
_UNICODE_ONLY = re.compile(r"\\(\\|[uUN])", re.DOTALL)
_EMPTY = ("space", "comment", "join")

#: Words, signs and blanks of one file: no honest configuration has more.
MOST_TOKENS = 200_000
#: Characters of a line that is shown in an error.
LONGEST_SHOWN = 200


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def rewrite(text: str, path: str) -> str:
    """The text in Python 3's spelling. Raises ConfigSyntax and UnsafeConfig with the line."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    source = text.split("\n")
    statements = _statements(_tokens(text, path, source), path, source)
    return "".join(_statement(statement, path, source) for statement in statements)


def syntax_error(path: str, line: int, source: list[str]) -> ConfigSyntax:
    """xm's two lines about a line that it cannot read."""
    offending = source[line - 1].strip() if 0 < line <= len(source) else ""
    shown = offending if len(offending) <= LONGEST_SHOWN else f"{offending[:LONGEST_SHOWN]}..."
    return PythonSyntax(f"Errors were found at line {line} while processing {path}:\n\t{shown}")


def _tokens(text: str, path: str, source: list[str]) -> list[Token]:
    tokens: list[Token] = []
    line = 1
    for match in TOKEN.finditer(text):
        if match.lastgroup == "open":
            raise syntax_error(path, line, source)
        if len(tokens) >= MOST_TOKENS:
            raise ConfigLimit(f"there are more than {MOST_TOKENS} words", path=path, line=line)
        token = Token(match.lastgroup or "op", match[0], line)
        tokens.append(token)
        line += token.text.count("\n")
    return tokens


def _statements(tokens: list[Token], path: str, source: list[str]) -> list[list[Token]]:
    """Simple statements and headers of compound ones, each with the separator that ends it."""
    statements: list[list[Token]] = [[]]
    depth, lambdas, at_start = 0, 0, True
    for token in tokens:
        if token.kind == "name" and token.text.startswith("_") and token.text != "_":
            raise UnsafeConfig(
                f"'{token.text[:LONGEST_SHOWN]}' is not permitted in a restricted configuration", path=path,
                line=token.line, hint="names may not begin with '_'",
            )  # fmt: skip
        if at_start and token.kind == "space":
            token = token._replace(text=token.text.expandtabs(8).replace("\f", "").replace("\r", ""))
        at_start = token.kind == "newline" or (at_start and token.kind == "space")
        statements[-1].append(token)
        depth += (token.text in "([{") - (token.text in ")]}") if token.kind == "op" else 0
        if depth < 0:
            raise syntax_error(path, token.line, source)
        lambdas += token.text == "lambda" and depth == 0
        if depth == 0 and token.text == ":" and lambdas:
            lambdas -= 1
        elif depth == 0 and (token.kind == "newline" or token.text in (";", ":")):
            statements.append([])
            lambdas = 0
    if depth:
        raise syntax_error(path, tokens[-1].line, source)
    return statements


def _statement(tokens: list[Token], path: str, source: list[str]) -> str:
    """One statement in the new spelling."""
    full = [index for index, token in enumerate(tokens) if token.kind not in _EMPTY]
    if not full or tokens[full[0]].kind != "name":
        _refuse_unpacking(tokens, path)
        return _words(tokens, path, source)
    first = full[0]
    word = tokens[first].text
    end = full[-1] if tokens[full[-1]].kind == "newline" or tokens[full[-1]].text in (";", ":") else full[-1] + 1
    head, tail = _words(tokens[:first], path, source), _words(tokens[end:], path, source)
    body = tokens[first + 1 : end]
    if word == "exec":
        raise UnsafeConfig(
            "'exec' is not permitted in a restricted configuration", path=path, line=tokens[first].line,
            hint="write the settings themselves",
        )  # fmt: skip
    if word == "print":
        return head + _print(body, path, source) + _comment(body) + tail
    _refuse_unpacking(tokens[first:end], path)
    if word in ("except", "raise"):
        comma = _top_comma(body)
        if comma is not None:
            before, after = _words(body[:comma], path, source), _words(body[comma + 1 :], path, source)
            if word == "except":
                return f"{head}except{before} as{after or ' '}{tail}"
            return f"{head}raise{before}({after.strip()}){tail}"
    return _words(tokens, path, source)


def _refuse_unpacking(tokens: list[Token], path: str) -> None:
    """``def f((a, b))``, ``lambda (a, b): ...`` and ``except E, (a, b)`` were legal: they are no mistakes of syntax."""
    words = [token for token in tokens if token.kind not in (*_EMPTY, "newline")]
    depth, parameters = 0, -1  # how deep in brackets; and parameters stand, -1 where none do
    for before, token in pairwise(words):
        depth += (before.text in "([{") - (before.text in ")]}") if before.kind == "op" else 0
        if before.text == "lambda":
            parameters = depth
        elif depth == 1 and before.text == "(" and words[0].text == "def":
            parameters = 1
        elif depth < parameters or (before.text == ":" and depth == parameters):
            parameters = -1
        opened = before.text in ("lambda", ",") or (before.text == "(" and words[0].text == "def" and depth == 1)
        excepted = words[0].text == "except" and before.text == "," and depth == 0
        if token.text == "(" and (excepted or (opened and depth == parameters)):
            raise UnsupportedConfig(
                "a parameter in brackets is not supported", path=path, line=token.line, hint="give each a name of its own"
            )


def _comment(body: list[Token]) -> str:
    """The comment at the end of a statement, which must not swallow what is put behind it."""
    return f"  {body[-1].text}" if body and body[-1].kind == "comment" else ""


def _print(body: list[Token], path: str, source: list[str]) -> str:
    kept = [token for token in body if token.kind != "comment"]
    text = _words(kept, path, source).strip()
    if text.startswith(">>"):
        return f"_print_to_({text[2:]})"
    return f"_print_({text})"


def _top_comma(tokens: list[Token]) -> int | None:
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == "op":
            depth += (token.text in "([{") - (token.text in ")]}")
            if token.text == "," and depth == 0:
                return index
    return None


def _words(tokens: list[Token], path: str, source: list[str]) -> str:
    """Tokens that each have a new spelling of their own."""
    parts: list[str] = []
    ticks = 0
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind == "string":
            index, text = _string_run(tokens, index)
            parts.append(text)
            continue
        if token.kind == "number":
            parts.append(_number(token, path, source))
        elif token.text == "`":
            ticks += 1
            parts.append("repr((" if ticks % 2 else "))")
        else:
            parts.append("!=" if token.text == "<>" else token.text)
        index += 1
    if ticks % 2:
        raise syntax_error(path, tokens[0].line, source)
    return "".join(parts)


def _number(token: Token, path: str, source: list[str]) -> str:
    text = token.text
    is_long = text[-1] in "lL"
    digits = text[:-1] if is_long else text
    if re.fullmatch(r"0[0-9]+", digits) and digits.strip("0"):
        if not re.fullmatch(r"[0-7]+", digits):
            raise syntax_error(path, token.line, source)
        digits = f"0o{digits}"
    return f"_long_({digits})" if is_long else digits


def _string_run(tokens: list[Token], start: int) -> tuple[int, str]:
    """Adjacent strings, which are one: unicode if any of them is. (index behind them, new text)"""
    end, last = start, start
    while end < len(tokens) and tokens[end].kind in ("string", "space", "join", "comment", "newline"):
        if tokens[end].kind == "string":
            last = end
        elif tokens[end].kind == "newline" and not any(
            token.kind == "string" for token in tokens[end : end + 8]
        ):
            break
        end += 1
    run = tokens[start : last + 1]
    is_unicode = any(token.kind == "string" and "u" in _prefix(token.text) for token in run)
    text = "".join(_string(token.text) if token.kind == "string" else token.text for token in run)
    return last + 1, f"_unicode_({text})" if is_unicode else text


def _prefix(text: str) -> str:
    return text[: min(text.find(quote) for quote in "'\"" if quote in text)].lower()


def _string(text: str) -> str:
    """A string literal as Python 3 writes the same one; \\u and \\N mean nothing in Python 2's plain strings."""
    prefix = _prefix(text)
    body = text[len(prefix) :]
    if "r" in prefix:
        return "r" + body
    if "u" in prefix:
        return body
    return _UNICODE_ONLY.sub(lambda match: match[0] if match[1] == "\\" else "\\" + match[0], body)
