"""A page for a browser: one file with its style and its figures inside, and no script.

Blocks that hold markdown are turned into HTML by markdown-it; raw HTML in them is shown as text, not obeyed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from markdown_it import MarkdownIt

from sparsity.report.blocks import Block, Figure, Folded, Heading, Prose, Table, anchor
from sparsity.report.claims import Finding
from sparsity.report.comparison import Verdict
from sparsity.report.plots.style import PALETTE

STYLE = Path(__file__).with_name("page.css")
_VERDICT = re.compile(rf"({'|'.join(verdict.value for verdict in (*Verdict, *Finding))})(, n = \d+( of \d+ planned)?)?")
_NUMBER = re.compile(r"[±+-]?\d[\d.,]*(e[+-]?\d+)?( ± [\d.]+)?( to -?[\d.]+)?( %| ms)?( \([^)]*\))?")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def render_html(blocks: Sequence[Block], appendices: Mapping[str, str]) -> str:
    """The page as one HTML file.

    Args:
        blocks: of the page; the first is its title.
        appendices: file name -> markdown text that stands folded at the end; links to such a file lead there.
    """
    title = next(block.text for block in blocks if isinstance(block, Heading) and block.level == 1)
    body = "\n".join([*_blocks(blocks), *(_appendix(name, text) for name, text in appendices.items())])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{_palette()}
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<nav aria-label="Sections">{_navigation(blocks)}</nav>
<main>
{_relinked(body, appendices)}
</main>
</body>
</html>
"""


def _palette() -> str:
    """The colours of the figures as CSS variables, light and dark."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in PALETTE.items()) for i in (0, 1))
    return f":root{{{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _navigation(blocks: Iterable[Block]) -> str:
    headings = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    return "".join(f'<a href="#{anchor(text)}">{escape(text)}</a>' for text in headings)


def _blocks(blocks: Iterable[Block]) -> list[str]:
    """Figures that follow each other share columns, so that a tall one leaves no hole beside a low one."""
    parts: list[str] = []
    for are_figures, group in groupby(blocks, key=lambda block: isinstance(block, Figure)):
        html = "\n".join(_block(block) for block in group)
        parts.append(f'<div class="figures">\n{html}\n</div>' if are_figures else html)
    return parts


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            # the same words head a part of every experiment: only sections can be linked
            identity = f' id="{anchor(text)}"' if level < 3 else ""
            return f"<h{level}{identity}>{_inline(text)}</h{level}>"
        case Prose(text):
            return str(_MARKDOWN.render(text)).rstrip()
        case Table():
            return _table(block)
        case Figure(name, caption):
            content = f"{block.rendering.svg}<figcaption>{_inline(caption)}</figcaption>"
            return f'<figure id="{escape(name)}">\n{content}\n</figure>'
        case Folded(summary, inner):
            content = "\n".join(_blocks(inner))
            return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def _table(table: Table) -> str:
    """A table that scrolls sideways by itself where the screen is narrow; columns of numbers are flush right."""
    numeric = [_is_numeric([row[i] for row in table.rows]) for i in range(len(table.header))]
    head = _row("th", table.header, numeric)
    body = "\n".join(_row("td", row, numeric) for row in table.rows)
    content = f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll" tabindex="0"><table>\n{content}\n</table></div>'


def _row(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    marks = [' class="number"' if flag else "" for flag in numeric]
    written = [f"<{tag}{mark}>{_cell(text)}</{tag}>" for text, mark in zip(cells, marks, strict=True)]
    return f"<tr>{''.join(written)}</tr>"


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [text for text in cells if text not in ("", Verdict.NOT_RUN.value)]
    return bool(filled) and all(_NUMBER.fullmatch(text) for text in filled)


def _cell(text: str) -> str:
    if verdict := _VERDICT.fullmatch(text):
        return f'<span class="verdict {verdict[1].replace(" ", "-")}">{text}</span>'
    return _inline(text)


def _inline(text: str) -> str:
    return str(_MARKDOWN.renderInline(text))


def _appendix(name: str, text: str) -> str:
    """A markdown file, folded, its headings two levels lower and linkable."""
    title = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("# ")), name)
    html = str(_MARKDOWN.render(re.sub(r"^# .*\n", "", text, count=1)))
    html = re.sub(r"<h(\d)>(.*?)</h\d>", lambda found: _lowered(int(found[1]), found[2]), html)
    html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    opening = f'<details class="appendix" id="{escape(name)}"><summary>{_inline(title)}</summary>'
    return f"{opening}\n{html}</details>"


def _lowered(level: int, content: str) -> str:
    plain = re.sub(r"<[^>]*>", "", content)
    return f'<h{level + 1} id="{anchor(plain)}">{content}</h{level + 1}>'


def _relinked(html: str, appendices: Mapping[str, str]) -> str:
    """Let links to an appended file lead to its place in this one."""
    for name in appendices:
        html = html.replace(f'href="{name}#', 'href="#').replace(f'href="{name}"', f'href="#{name}"')
    return html
