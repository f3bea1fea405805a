"""The README: its table is that of the published summaries, and every command it prints can be given."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from sparsity import config
from sparsity.report.claims import Claim
from sparsity.report.markdown import render_markdown
from sparsity.report.page import load_sections, write_page
from sparsity.report.readme import BEGIN, END, PICTURE, brought_up_to_date, filled, first_screen
from sparsity.settings import Settings, leaves
from tests.report.fake_results import REPOSITORY, AddRun, row

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python scripts/train\.py ([^`#\n]+)", README)
NEEDS_AN_EXTRA = ("hydra", "sweep=optuna")


def overrides(command: str) -> list[str]:
    """The settings of a printed command, of several runs the first one's."""
    words = [word for word in shlex.split(command) if not word.startswith(("-", *NEEDS_AN_EXTRA))]
    return [word if "[" in word else word.partition(",")[0] for word in words]


def test_the_table_is_up_to_date() -> None:
    (text,) = brought_up_to_date(REPOSITORY / "results", load_sections(REPOSITORY / "results")).values()
    assert text == README, "run `make report` and commit what it writes"


def test_the_page_writes_the_table_between_the_markers(mnist_alone: Path, add_run: AddRun) -> None:
    add_run(rows=[row(test=99.2)])
    readme = mnist_alone.parent / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert readme in write_page(mnist_alone)
    text = readme.read_text()
    cells = (
        "LeNet-5 on MNIST, accuracy",
        "99.23 at 99.71 %",
        "99.20 at 99.72 %",
        "1",
        "matches",
        "0.7 h; Example, 2 threads",
    )
    assert f"| {' | '.join(cells)} |" in text
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text


def test_an_experiment_without_a_judged_run_is_called_not_run(mnist_alone: Path, add_run: AddRun) -> None:
    add_run(shortened=True)
    readme = mnist_alone.parent / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    write_page(mnist_alone)
    assert "| LeNet-5 on MNIST, accuracy | 99.23 at 99.71 % |  |  | not run |  |" in readme.read_text()


def test_the_claims_are_counted_by_verdict_and_the_picture_is_shown_where_there_is_one(
    mnist_alone: Path, add_run: AddRun
) -> None:
    add_run(rows=[row(test=99.2)])
    claims = (
        Claim("It does.", "Table 2", "result", experiment="lenet5_mnist"),
        Claim("They agree.", "Table 2", "units", experiment="lenet5_mnist"),
    )
    sections = load_sections(mnist_alone)
    words = render_markdown(first_screen(mnist_alone, sections, claims))
    assert "The paper's 2 claims, each by a printed rule: [1 supported, 1 partly](results/README.md#" in words
    assert "![" not in words
    picture = mnist_alone / PICTURE
    picture.parent.mkdir(parents=True)
    picture.touch()
    assert f"](results/{PICTURE})" in render_markdown(first_screen(mnist_alone, sections, claims))


def test_a_readme_without_the_marker_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("mine\n")
    assert brought_up_to_date(tmp_path / "results", []) == {}
    assert readme.read_text() == "mine\n"


def test_a_missing_second_marker_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no line '<!-- end of results -->'"):
        filled(BEGIN, [])


def test_the_readme_has_a_command_for_each_experiment() -> None:
    experiments = [path.stem for path in (config.CONF / "experiment").glob("*.yaml")]
    assert {f"experiment={name} scale=paper" for name in experiments} <= set(COMMANDS)


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))  # a third of a second each
def test_every_printed_command_composes(command: str) -> None:
    assert config.compose(overrides(command))


def test_every_script_and_file_that_it_names_is_there() -> None:
    named = re.findall(r"(?:scripts|conf)/\w+\.\w+", README) + re.findall(r"\]\((?!http)([^)#]+)", README)
    assert named and [name for name in named if not (REPOSITORY / name).exists()] == []


def test_the_sweep_that_wandb_steers_varies_settings_that_exist() -> None:
    sweep = yaml.safe_load((config.CONF / "wandb_sweep.yaml").read_text())
    assert set(sweep["parameters"]) <= dict(leaves(Settings())).keys()
