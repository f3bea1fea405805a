"""README's tree of the repository has the rooms that there are, and no others."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = ("conf", "sparsity", "scripts", "tests", "results")
INDENT = 4


def rooms_of_readme() -> set[str]:
    """Paths of the folders and modules in the tree, by their indentation."""
    (tree,) = re.findall(r"## How to read the code.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    above: list[str] = []
    found = set()
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // INDENT
        above = above[:depth]
        names = re.match(r" *((?:[\w.]+(?:/|\.py) ?)+)", line)
        assert names is not None, f"{line} names no room"
        for name in names[1].split():
            found.add("".join(f"{folder}/" for folder in above) + name.rstrip("/"))
        above.append(names[1].split()[0].rstrip("/"))
    return found


def test_the_tree_has_every_package_and_nothing_that_is_not_there() -> None:
    found = rooms_of_readme()
    packages = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "sparsity").rglob("__init__.py")}
    assert {name for name in found if not name.endswith(".py")} == packages | set(SHOWN)
    assert [name for name in sorted(found) if not (ROOT / name).exists()] == []
