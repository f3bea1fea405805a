"""A page as markdown, for GitHub, where `results/README.md` is shown."""

from collections.abc import Sequence

from sparsity.report.blocks import Block, Figure, Folded, Heading, Prose, Table


def render_markdown(blocks: Sequence[Block]) -> str:
    """The blocks as one markdown text, with a blank line between them."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return "#" * level + " " + text
        case Prose(text):
            return text
        case Table():
            return _table(block)
        case Figure(name, caption):
            return f"![{caption}](figures/{name}.svg)\n\n*{caption}*"
        case Folded(summary, inner):
            content = "\n\n".join(_block(each) for each in inner)
            return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _table(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """A cell on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")
