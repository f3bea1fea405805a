"""An SVG of matplotlib made part of a page: small, the same each time, in the page's own colours."""

import itertools
import re
from collections.abc import Mapping
from html import escape

_REFERENCE = re.compile(r'(?<=id=")[mp][0-9a-f]{10}(?=")')  # of markers and clip paths, made anew by each drawing
_GROUP = re.compile(r' id="[a-z]+_?[\w.]*_\d+"')  # nobody refers to groups, and a page holds many figures
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def cleaned(text: str, name: str, caption: str, colours: Mapping[str, str]) -> str:
    """The <svg> element of a file of matplotlib.

    Coordinates are rounded to a hundredth of a point: the layout's solver moves them by less than that from one drawing
    to the next.

    Args:
        text: the file.
        name: of the figure, from which its ids are made.
        caption: for those who cannot see it.
        colours: CSS variable -> the colour in the file that it stands for.
    """
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', lambda found: _opening(found[1], caption), text)
    text = re.sub(r"font: (\d+)px '[^']*'[^;\"]*", r"font: \1px system-ui, 'DejaVu Sans', sans-serif", text)
    text = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}", _GROUP.sub("", text))
    numbers = {kind: itertools.count() for kind in "mp"}  # apart, as one more marker must not rename what all lines use
    for reference in dict.fromkeys(_REFERENCE.findall(text)):
        number = f"{reference[0]}{next(numbers[reference[0]])}"
        text = text.replace(reference, f"{name.replace('/', '-')}-{number}")
    for variable, colour in colours.items():
        text = text.replace(colour, f"var(--{variable},{colour})")
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


def _opening(view_box: str, caption: str) -> str:
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {namespaces} viewBox="{view_box}" role="img" aria-label="{escape(caption)}">'
