"""What notebook outputs may bring into a report: text, tables and pictures; nothing that runs, loads or overlays.

Two allow-lists: one for HTML that a cell or a Markdown text brought along (no id, no style, few classes, so that it
cannot dress up as a verdict), one for the notebook as a whole, as the last hand on it.
"""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote
from xml.etree import ElementTree

import nh3
from bs4 import BeautifulSoup, Tag

_TEXT = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "dfn",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "time",
        "tr",
        "u",
        "ul",
        "var",
    ]
)
_MATH = frozenset(
    [
        "math",
        "mfenced",
        "mfrac",
        "mi",
        "mn",
        "mo",
        "mover",
        "mpadded",
        "mroot",
        "mrow",
        "ms",
        "mspace",
        "msqrt",
        "mstyle",
        "msub",
        "msubsup",
        "msup",
        "mtable",
        "mtd",
        "mtext",
        "mtr",
        "munder",
        "munderover",
    ]
)
_DROPPED_WHOLE = frozenset({"script", "style", "iframe", "object", "embed", "template", "noscript", "title", "svg"})
_TABLE_CLASSES = frozenset(
    {"rb-long", "rb-num", "rb-note", "rb-pass", "rb-fail", "rb-status", "rb-table", "rb-unknown"}
)
_OWN_CLASSES = _TABLE_CLASSES | {
    "cell", "cell-bad", "cell-head", "chart", "code", "error", "highlight", "markdown", "output", "picture", "plain",
    "rb-scroll", "state", "state-bad", "state-ok", "took",
}  # fmt: skip
#: pygments writes one short class a token.
_TOKEN = re.compile(r"^[a-z][a-z0-9]{0,2}$")
_PICTURE = re.compile(r"^data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+$")
#: As `svg_image` writes it.
_OWN_SVG = re.compile(r"^data:image/svg\+xml,%3Csvg [^<>]*$")
_OWN_ID = re.compile(r"^(?:step|cell)-[a-z0-9-]+$")
#: An address of a picture that is not kept, in a form that the second step finds and nothing loads.
_NOT_KEPT = "data:text/plain,"

_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"class"},
    "a": {"href"},
    "img": {"alt", "src", "width", "height"},
    "math": {"display"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "time": {"datetime"},
}


def _link(value: str) -> str | None:
    return value if re.match(r"^(?:https?:|mailto:|#)", value) else None


def _keep_foreign(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "class":
        return " ".join(name for name in value.split() if name in _TABLE_CLASSES) or None
    if attribute == "src":
        return value if _PICTURE.match(value) else _NOT_KEPT + quote(value)
    return _link(value) if attribute == "href" else value


def _keep_own(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "class":
        kept = [name for name in value.split() if name in _OWN_CLASSES or (tag == "span" and _TOKEN.match(name))]
        return " ".join(kept) or None
    if attribute == "id":
        return value if _OWN_ID.match(value) else None
    if attribute == "src":
        return value if _PICTURE.match(value) or _OWN_SVG.match(value) else None
    return _link(value) if attribute == "href" else value


def clean_foreign(html: str) -> str:
    """HTML from an output or a Markdown text, made safe and accessible.

    Pictures from elsewhere become text, header cells get a scope, tables a scroll region that keys can reach.
    """
    cleaned = nh3.clean(
        html,
        tags=set(_TEXT | _MATH),
        clean_content_tags=set(_DROPPED_WHOLE),
        attributes=_ATTRIBUTES,
        attribute_filter=_keep_foreign,
        url_schemes={"http", "https", "mailto", "data"},
    )
    soup = BeautifulSoup(cleaned, "html.parser")
    for image in soup.find_all("img"):
        _settle_image(soup, image)
    for header in soup.find_all("th"):
        _settle_header(header)
    for found in soup.find_all("table"):
        if found.find_parent("table") is None:
            caption = found.find("caption")
            label = caption.get_text(" ", strip=True) if caption else "Table"
            found.wrap(
                soup.new_tag("div", attrs={"class": "rb-scroll", "role": "group", "tabindex": "0", "aria-label": label})
            )
    return str(soup)


def _settle_image(soup: BeautifulSoup, image: Tag) -> None:
    source, alt = str(image.get("src") or ""), str(image.get("alt") or "")
    if _PICTURE.match(source):
        image["alt"] = alt or "Picture without a description"
        return
    note = soup.new_tag("span", attrs={"class": "rb-note"})
    note.string = f"[picture not kept: {alt or 'no description'}]"
    image.replace_with(note)


def _settle_header(header: Tag) -> None:
    if not header.get_text(strip=True):
        header.name = "td"
        if header.has_attr("scope"):
            del header["scope"]
    elif header.get("scope") not in ("col", "row", "colgroup", "rowgroup"):
        header["scope"] = "col" if header.find_parent("thead") or not header.find_parent("tbody") else "row"


def clean_notebook(html: str) -> str:
    """The rendered notebook with nothing in it but what our own template writes."""
    attributes = {tag: set(names) for tag, names in _ATTRIBUTES.items()}
    attributes["*"] |= {"id", "role", "tabindex", "aria-label", "aria-hidden"}
    cleaned: str = nh3.clean(
        html,
        tags=set(_TEXT | _MATH | {"details", "summary"}),
        clean_content_tags=set(_DROPPED_WHOLE),
        attributes=attributes,
        attribute_filter=_keep_own,
        url_schemes={"http", "https", "mailto", "data"},
    )
    return cleaned


_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_SVG_DROPPED = frozenset(
    {"script", "foreignObject", "iframe", "handler", "listener", "metadata", "a", "image", "feImage"}
)
#: Our own charts are drawn in mid-tones; inside the report they follow its theme.
_CHART_THEME = (
    "text{fill:#3b444d!important}@media (prefers-color-scheme:dark){text{fill:#c3cad1!important}}"
    "@media print{text{fill:#3b444d!important}}"
)
#: Characters that need no escape inside a quoted data: address.
_SAFE = " =:/;,()'!*+{}@"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


def svg_image(svg: str, alt: str) -> str | None:
    """An SVG as an `<img>` with its content inside the address: nothing in it can run or load.

    Args:
        svg: an SVG document; an own `aria-label` or title is the alternative text, else `alt`.

    Returns:
        None when it is no SVG.
    """
    if "<!ENTITY" in svg:
        return None
    try:
        root = ElementTree.fromstring(svg)  # noqa: S314 - no entities, checked above
    except ElementTree.ParseError:
        return None
    if root.tag != f"{{{_SVG}}}svg":
        return None
    title = root.find(f"{{{_SVG}}}title")
    alt = root.get("aria-label") or (title.text if title is not None else None) or alt
    is_chart = "rb-chart" in (root.get("class") or "").split()
    _strip_svg(root)
    if is_chart:
        theme = ElementTree.Element(f"{{{_SVG}}}style")
        theme.text = _CHART_THEME
        root.insert(0, theme)
    text = re.sub(r">\s*\n\s*<", "><", ElementTree.tostring(root, encoding="unicode"))
    address = "data:image/svg+xml," + quote(re.sub(r"\s+", " ", text), safe=_SAFE)
    return f'<img class="{"chart" if is_chart else "picture"}" alt="{escape(alt)}" src="{address}">'


def _strip_svg(element: ElementTree.Element) -> None:
    for child in list(element):
        name = child.tag.rsplit("}", 1)[-1] if isinstance(child.tag, str) else "script"
        if name in _SVG_DROPPED:
            element.remove(child)
        else:
            _strip_svg(child)
    if element.tag == f"{{{_SVG}}}style" and re.search(r"@import|url\(\s*['\"]?(?!#)", element.text or ""):
        element.text = ""
    for attribute, value in list(element.attrib.items()):
        name = attribute.rsplit("}", 1)[-1]
        leads_out = name == "href" and not value.startswith("#")
        if name.lower().startswith("on") or leads_out or "javascript:" in value.lower():
            del element.attrib[attribute]
