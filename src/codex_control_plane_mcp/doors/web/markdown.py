"""Markdown of models as HTML that does nothing: no tags of theirs, no pictures, no scripts.

Twice over: the parser takes no HTML and no pictures, and the sanitiser lets only the listed tags
through. The page's own policy would stop the rest.
"""

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from codex_control_plane_mcp.redact import redact

_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_parser.disable("image")

_TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote"),
    *("ul", "ol", "li", "pre", "code", "em", "strong", "s", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
#: A text stands below the page's first heading, and below that of its section.
_BELOW = 2


def as_html(text: str) -> Markup:
    """`text` as HTML, without secrets."""
    tokens = _parser.parse(redact(text))
    headings = [token for token in tokens if token.type in ("heading_open", "heading_close")]
    highest = min((int(token.tag[1]) for token in headings), default=1)
    for token in headings:
        token.tag = f"h{min(6, int(token.tag[1]) - highest + 1 + _BELOW)}"
    html: str = _parser.renderer.render(tokens, _parser.options, {})
    return Markup(  # noqa: S704  # that is what the sanitiser is for
        nh3.clean(
            html,
            tags=_TAGS,
            attributes={"a": {"href"}, "ol": {"start"}},
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer nofollow",
        )
    )


def as_diff(text: str) -> Markup:
    """A unified diff, a class for each line."""
    lines = (
        Markup('<span class="{}">{}</span>').format(_kind(line), line or " ")
        for line in redact(text).split("\n")
    )
    return Markup("\n").join(lines)


def _kind(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ")):
        return "file"
    return {"+": "add", "-": "del", "@": "at"}.get(line[:1], "same")
