"""encode() and decode() of Python 2's texts. Pure.

A text holds the characters of its file, of which Python 2 saw the bytes. Where the file itself is ASCII, characters
beyond it come from escapes such as '\\xff', and each is a byte; else those of a text are not known for sure.
"""

from __future__ import annotations

import base64
import binascii
import codecs

from xmcompat.config.py2values import Budget, Raised, Unicode

_CHARSETS = {
    "ascii": "ascii", "us_ascii": "ascii", "646": "ascii", "utf_8": "utf-8", "utf8": "utf-8", "u8": "utf-8",
    "latin_1": "latin-1", "latin1": "latin-1", "iso_8859_1": "latin-1", "iso8859_1": "latin-1", "l1": "latin-1",
}  # fmt: skip
_ENCODINGS = {"hex": "hex", "hex_codec": "hex", "base64": "base64", "base_64": "base64", "base64_codec": "base64",
              "rot13": "rot13", "rot_13": "rot13"}  # fmt: skip
_HANDLERS = ("strict", "ignore", "replace")


def encode(value: str, encoding: object, errors: object, budget: Budget) -> str:
    """``value.encode(encoding, errors)``. Raises UnsupportedConfig for other encodings than the few."""
    name, handler = _names(encoding, errors, budget)
    budget.room(2 * len(value))
    if name == "hex":
        return binascii.hexlify(_bytes(value, budget)).decode("ascii")
    if name == "base64":
        return base64.encodebytes(_bytes(value, budget)).decode("ascii")
    if name == "rot13":
        return codecs.encode(_bytes(value, budget).decode("latin-1"), "rot13")
    if not isinstance(value, Unicode):
        _ascii_only(value, budget)  # what Python 2 decodes it as, first
        return str(value)
    try:
        data = value.encode(name, handler)
    except UnicodeEncodeError as error:
        raise _not_encoded(name, error) from None
    return _text(data, budget) if budget.encoding == "ascii" else data.decode(name)


def decode(value: str, encoding: object, errors: object, budget: Budget) -> str:
    """``value.decode(encoding, errors)``. Raises UnsupportedConfig for other encodings than the few."""
    name, handler = _names(encoding, errors, budget)
    budget.room(len(value))
    if name == "hex" or name == "base64":
        return _text(_decoded_bytes(_bytes(value, budget), name), budget)
    if name == "rot13":
        return Unicode(codecs.encode(_bytes(value, budget).decode("latin-1"), "rot13"))
    if not value.isascii() and budget.encoding == name and not isinstance(value, Unicode):
        return Unicode(value)
    try:
        return Unicode(_bytes(value, budget).decode(name, handler))
    except UnicodeDecodeError as error:
        shown = f"byte 0x{error.object[error.start]:02x} in position {error.start}: {error.reason}"
        raise Raised("UnicodeDecodeError", f"'{name}' codec can't decode {shown}") from None


def restored(value: str, budget: Budget) -> str:
    """The text that the bytes of a value are: UTF-8, or else Latin-1; as the file itself is read."""
    if value.isascii() or budget.encoding != "ascii" or isinstance(value, Unicode):
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _names(encoding: object, errors: object, budget: Budget) -> tuple[str, str]:
    if not isinstance(encoding, str) or not isinstance(errors, str):
        raise Raised("TypeError", "encoding and errors must be texts")
    plain = encoding.lower().replace("-", "_").replace(" ", "_")
    known = _CHARSETS.get(plain) or _ENCODINGS.get(plain)
    if known is None:
        raise budget.unsupported(f"the encoding '{encoding[:100]}'")
    if errors not in _HANDLERS:
        raise budget.unsupported(f"errors='{errors[:100]}' of encode() and decode()")
    return known, str(errors)


def _decoded_bytes(data: bytes, name: str) -> bytes:
    if name == "hex":
        try:
            return binascii.unhexlify(data)
        except binascii.Error as error:
            odd = "Odd" in str(error)
            raise Raised("TypeError", "Odd-length string" if odd else "Non-hexadecimal digit found") from None
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        raise Raised("Error", "Incorrect padding") from None


def _bytes(value: str, budget: Budget) -> bytes:
    """The bytes of a text. Those of unicode are ASCII, or there are none in Python 2."""
    if value.isascii():
        return value.encode("ascii")
    if isinstance(value, Unicode):
        try:
            return value.encode("ascii")
        except UnicodeEncodeError as error:
            raise _not_encoded("ascii", error) from None
    if budget.encoding == "ascii" and max(value) <= "\xff":
        return value.encode("latin-1")
    raise budget.unsupported("encode() or decode() of a text with characters beyond ASCII")


def _text(data: bytes, budget: Budget) -> str:
    """The text that bytes are for a script."""
    if not data.isascii() and budget.encoding != "ascii":
        raise budget.unsupported("decode() to characters beyond ASCII")
    return data.decode("latin-1")


def _ascii_only(value: str, budget: Budget) -> None:
    for place, char in enumerate(value if not value.isascii() else ""):
        if char > "\x7f":
            byte = char.encode("latin-1" if budget.encoding == "ascii" and char <= "\xff" else "utf-8", "replace")[0]
            shown = f"byte 0x{byte:02x} in position {place}: ordinal not in range(128)"
            raise Raised("UnicodeDecodeError", f"'ascii' codec can't decode {shown}")


def _not_encoded(name: str, error: UnicodeEncodeError) -> Raised:
    char = ord(error.object[error.start])
    escape = f"\\x{char:02x}" if char < 256 else f"\\u{char:04x}" if char < 0x10000 else f"\\U{char:08x}"
    shown = f"character u'{escape}' in position {error.start}: {error.reason}"
    return Raised("UnicodeEncodeError", f"'{name}' codec can't encode {shown}")
