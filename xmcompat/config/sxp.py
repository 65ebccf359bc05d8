"""S-expressions as xend reads and prints them. Pure.

A tree is a list of texts and lists; the reader never makes numbers of texts. The writer takes numbers too.
A text stands for its UTF-8 bytes: those above 0x7e are written as ``\\xHH``, and read back to the same text.
Bytes that are no UTF-8 are lone surrogates, as ``errors="surrogateescape"`` makes them.
Differs from xm: ``\\xHH`` is read as the byte that xend meant when it wrote it; a list that ends with the input is an
error, where xend returned nothing.
"""

from __future__ import annotations

from xmcompat.errors import ConfigLimit, ConfigSyntax

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Tree = list[object]

#: A document nested deeper than this is no configuration.
DEEPEST = 200

_SPACE = " \t\n\v\f\r"
_BREAKS = "{}()<>[];"
_ESCAPES = {"a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}
_ENDS = frozenset(_SPACE + "#" + _BREAKS)
_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/~-")
_OCTAL = frozenset("01234567")
_LISTS = (list, tuple)
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


class Long(int):
    """A number that Python 2 called long: xend prints it in quotes."""


class _Reader:
    def __init__(self, text: str, path: str | None) -> None:
        self.text = text
        self.path = path
        self.place = 0

    def error(self, message: str) -> ConfigSyntax:
        line = self.text.count("\n", 0, min(self.place, len(self.text))) + 1
        return ConfigSyntax(message, path=self.path, line=line if self.path else None)

    def skip(self) -> str:
        """Pass blanks and comments; the character that follows, "" at the end."""
        text, end = self.text, len(self.text)
        while self.place < end:
            char = text[self.place]
            if char == "#":
                newline = text.find("\n", self.place)
                self.place = end if newline < 0 else newline
            elif char in _SPACE:
                self.place += 1
            else:
                return char
        return ""

    def document(self) -> Tree:
        top: Tree = []
        stack: list[Tree] = [top]
        while char := self.skip():
            if char == "(":
                if len(stack) > DEEPEST:
                    raise ConfigLimit(f"lists are nested deeper than {DEEPEST}", path=self.path)
                self.place += 1
                inner: Tree = []
                stack[-1].append(inner)
                stack.append(inner)
            elif char == ")":
                if len(stack) == 1:
                    raise self.error("syntax error: )")
                self.place += 1
                stack.pop()
            elif char == "\x04" and len(stack) == 1:
                break
            else:
                stack[-1].append(self.quoted(char) if char in "'\"" else self.atom(char))
        if len(stack) > 1:
            raise self.error("unexpected EOF")
        return top

    def atom(self, first: str) -> str:
        if ord(first) < 0x20:
            raise self.error(f"invalid character: code {ord(first)}")
        text, start, end = self.text, self.place, len(self.text)
        place = start + 1
        while place < end and text[place] not in _ENDS:
            place += 1
        self.place = place
        return text[start:place]

    def quoted(self, quote: str) -> str:
        """The text in quotes: characters as they are, escapes as bytes; together they are UTF-8."""
        parts = bytearray()
        self.place += 1
        while self.place < len(self.text):
            char = self.text[self.place]
            self.place += 1
            if char == quote:
                return parts.decode("utf-8", "surrogateescape")
            if char == "\\":
                parts += self.escape()
            else:
                parts += char.encode("utf-8", "surrogateescape")
        raise self.error("unexpected EOF")

    def escape(self) -> bytes:
        rest = self.text[self.place : self.place + 3]
        octal = rest[: next((place for place, char in enumerate(rest) if char not in _OCTAL), 3)]
        if octal:
            self.place += len(octal)
            if int(octal, 8) > 0o377:
                raise self.error(f"invalid octal escape: out of range {octal}")
            return bytes([int(octal, 8)])
        char = rest[:1]
        if char == "":
            raise self.error("unexpected EOF")
        self.place += 1
        if char == "x":
            digits = rest[1:]
            if len(digits) < 2 or not _HEXADECIMAL.issuperset(digits):
                raise self.error("invalid hexadecimal escape")
            self.place += 2
            return bytes([int(digits, 16)])
        if char in _ESCAPES:
            return _ESCAPES[char].encode()
        # the character behind any other backslash is lost
        return char.encode() if char in "\\'\"" else b"\\"


def parse(text: str, path: str | None = None) -> Tree:
    """The elements of a document, in order; none for an empty one.

    Raises ConfigSyntax and ConfigLimit.
    """
    return _Reader(text, path).document()


def write(element: object) -> str:
    """The compact form of a tree, on one line."""
    if isinstance(element, str):
        return element if (element and _BARE.issuperset(element)) or element == "@" else _quote(element)
    if isinstance(element, _LISTS):
        return "(" + " ".join([write(child) for child in element]) + ")"
    if element is None:
        return "'None'"
    if isinstance(element, Long):
        return f"'{int(element)}'"
    return _number(element) if isinstance(element, float) else str(element)


def _number(number: float) -> str:
    """A float with twelve digits at most, as Python 2 shows it."""
    text = f"{number:.12g}"
    return text if set(text) & set(".en") else f"{text}.0"


def _quote(text: str) -> str:
    """A text in quotes, as Python 2 shows one: single quotes unless only double ones spare the escaping."""
    if not text or (text.isascii() and text.isprintable() and "'" not in text and "\\" not in text):
        return f"'{text}'"
    quote = '"' if "'" in text and '"' not in text else "'"
    parts = []
    for char in text:
        if char in (quote, "\\"):
            parts.append("\\" + char)
        elif char in "\n\t\r":
            parts.append({"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char])
        elif 0x20 <= ord(char) < 0x7F:
            parts.append(char)
        else:
            parts.append("".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape")))
    return quote + "".join(parts) + quote


def pretty(element: object, width: int = 80) -> str:
    """The form that xend prints, with a newline at the end: lists that do not fit into WIDTH columns are broken."""
    parts: list[str] = []
    _lay_out(_written(element), 0, width, parts)
    return "".join(parts) + "\n"


#: The compact form of an element; of a list, also those of what is in it.
_Written = tuple[str, "list[_Written]"]


def _written(element: object) -> _Written:
    """Each part of ELEMENT written once."""
    if not isinstance(element, list):
        return write(element), _NOTHING
    inner = [_written(child) for child in element]
    return f"({' '.join([compact for compact, _ in inner])})", inner


_NOTHING: list[_Written] = []


def _lay_out(written: _Written, column: int, width: int, parts: list[str]) -> None:
    compact, inner = written
    if column + len(compact) <= width or not inner:
        parts.append(compact)
        return
    parts.append("(")
    _lay_out(inner[0], column + 1, width, parts)
    below = "\n" + " " * (column + 4)
    for child in inner[1:]:
        parts.append(below)
        if column + 4 + len(child[0]) <= width:
            parts.append(child[0])
        else:
            _lay_out(child, column + 4, width, parts)
    parts.append("\n" + " " * column + ")")


# -- what a tree says


def children(tree: Sequence[object], key: str) -> list[Tree]:
    """The lists in TREE, behind its head, whose own head is KEY."""
    return [child for child in tree[1:] if isinstance(child, list) and child and child[0] == key]


def value(tree: Sequence[object], key: str, default: object = None) -> object:
    """The second element of the first such list; DEFAULT where there is none, or it has no second element."""
    found = children(tree, key)
    return found[0][1] if found and len(found[0]) > 1 else default
