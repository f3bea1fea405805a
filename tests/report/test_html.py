"""results/index.html: one file that a browser opens from a disk, and that says what the markdown says."""

import re
from html.parser import HTMLParser
from pathlib import Path

from sparsity.report.blocks import Block, Figure, Folded, Heading, Prose, Rendering, table
from sparsity.report.html import render_html
from sparsity.report.page import write_page
from tests.report.fake_results import AddRun, render_page, row

TITLE: list[Block] = [Heading(1, "Title")]


def html_of(*blocks: Block, **appendices: str) -> str:
    return render_html([*TITLE, *blocks], appendices)


class Cells(HTMLParser):
    """The text of every table cell, and whether all tags are closed in order."""

    VOID = ("meta", "br", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.cells[-1] += data


def test_the_page_is_one_file_without_script_or_anything_from_outside(mnist_alone: Path, add_run: AddRun) -> None:
    add_run()
    write_page(mnist_alone)
    page = (mnist_alone / "index.html").read_text()
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|src=", page)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, which nobody fetches


def test_the_page_has_light_and_dark_colours_and_fits_a_narrow_screen() -> None:
    page = html_of(Prose("Text."))
    assert "@media(prefers-color-scheme:dark)" in page
    assert '<meta name="viewport" content="width=device-width' in page


def test_every_cell_of_the_markdown_page_stands_in_the_html_page(mnist_alone: Path, add_run: AddRun) -> None:
    for seed, test in enumerate((99.1, 99.3)):
        add_run(seed=seed, rows=[row(test=test), row("last", kept=500)])
    write_page(mnist_alone)
    lines = [line for line in render_page(mnist_alone).splitlines() if line.startswith("| ") and "---" not in line]
    plain = [re.sub(r"\[(.*?)\]\(.*?\)|`", r"\1", line) for line in lines]
    expected = [cell.strip() for line in plain for cell in line.strip("| ").split(" | ") if cell.strip(" |")]
    found = Cells((mnist_alone / "index.html").read_text()).cells
    assert expected and set(expected) <= {cell.strip() for cell in found}


def test_a_verdict_is_marked_by_a_word_and_a_colour() -> None:
    assert '<span class="verdict trade-off">trade-off</span>' in html_of(table(["Verdict"], [["trade-off"]]))
    for words in ("inconclusive, n = 3", "inconclusive, n = 4 of 6 planned"):
        page = html_of(table(["Verdict"], [[words]]))
        assert f'<span class="verdict inconclusive">{words}</span>' in page


def test_columns_of_numbers_are_flush_right_and_words_are_not() -> None:
    page = html_of(table(["a", "b"], [["99.20 ± 0.14", "seed 1"], ["-0.03", ""]]))
    assert '<td class="number">-0.03</td><td></td>' in page
    shares = html_of(table(["a", "b"], [["1,255 (0.29 %)", "not run"], ["0.27 ms (0.26 to 0.3)", "1 of 3"]]))
    assert '<td class="number">0.27 ms (0.26 to 0.3)</td><td>1 of 3</td>' in shares


def test_what_was_not_run_leaves_its_column_one_of_numbers() -> None:
    page = html_of(table(["a", "b"], [["99.20 ± 0.14", "seed 1"], ["not run", ""]]))
    assert '<td class="number">99.20 ± 0.14</td>' in page


def test_html_in_a_command_is_shown_and_not_obeyed() -> None:
    page = html_of(table(["Command"], [["<b onclick=x>"]]), Prose("<i>"))
    assert "&lt;b onclick=x&gt;" in page and "&lt;i&gt;" in page


def test_figures_that_follow_each_other_share_columns() -> None:
    figure = Figure("a/b", "It *shows*.", lambda: Rendering("<svg></svg>\n", b""))
    page = html_of(figure, figure, Prose("Text."), Folded("More", (figure,)))
    assert page.count('<div class="figures">') == 2
    assert page.count("<svg></svg>\n<figcaption>It <em>shows</em>.</figcaption>") == 3


def test_links_to_an_appended_file_lead_to_its_place_in_the_page() -> None:
    notes = "# Notes\n\n### 1. First `x`\n\ntext\n"
    page = html_of(Prose("[whole](notes.md), [entry](notes.md#1-first-x)"), **{"notes.md": notes})
    assert 'href="#notes.md"' in page and '<details class="appendix" id="notes.md"><summary>Notes</summary>' in page
    assert 'href="#1-first-x"' in page and '<h4 id="1-first-x">1. First <code>x</code></h4>' in page


def test_the_navigation_leads_to_every_section() -> None:
    page = html_of(Heading(2, "First part"))
    assert '<a href="#first-part">First part</a>' in page and '<h2 id="first-part">' in page
