"""A quick look into a domain's XML, for verbs that need little of it: loading lxml and the machine takes longer than
all the rest of ``xm vcpu-list``. Pure.
"""

from __future__ import annotations

from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Element:
    """One element: its name and namespace, its attributes, its text, and its children."""

    __slots__ = ("attributes", "children", "name", "space", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.space, _, self.name = name.rpartition(" ")
        self.attributes = attributes
        self.text = ""
        self.children: list[Element] = []

    def get(self, attribute: str, default: str = "") -> str:
        return self.attributes.get(attribute, default)

    def all(self, path: str) -> Iterator[Element]:
        """The elements at PATH, names with "/" between them."""
        first, _, rest = path.partition("/")
        for child in self.children:
            if child.name == first:
                if rest:
                    yield from child.all(rest)
                else:
                    yield child

    def first(self, path: str) -> Element | None:
        return next(self.all(path), None)

    def inside(self, space: str, name: str) -> Element | None:
        """The first element of this NAME in the namespace SPACE, at any depth."""
        for child in self.children:
            found = child if (child.space, child.name) == (space, name) else child.inside(space, name)
            if found is not None:
                return found
        return None

    def text_of(self, path: str, default: str = "") -> str:
        """The text of the first element at PATH, without white space around it."""
        found = self.first(path)
        return default if found is None else found.text.strip() or default

    def attribute_of(self, path: str, attribute: str) -> str:
        """The ATTRIBUTE of the first element at PATH; "" where there is none."""
        found = self.first(path)
        return "" if found is None else found.get(attribute)


def read(xml: str) -> Element:
    """The outermost element. Raises HypervisorError for text that is no XML, and for XML with declarations."""
    import pyexpat

    parser = pyexpat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    stack = [Element("", {})]

    def begin(name: str, attributes: dict[str, str]) -> None:
        element = Element(name, attributes)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def declaration(*_parts: object) -> None:
        raise HypervisorError("libvirt's XML of a domain has a document type, which is not read")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, declaration
    try:
        parser.Parse(xml.encode("utf-8", "surrogatepass"), True)
    except pyexpat.ExpatError as error:
        raise HypervisorError(f"libvirt's XML of a domain cannot be read: {error}") from None
    return stack[0].children[0]
