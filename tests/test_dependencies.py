"""Do pyproject.toml, environment.yml and constraints.txt agree on what is installed?"""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def by_name(lines: list[str]) -> dict[str, Requirement]:
    """Requirements under their canonical names; none may stand twice."""
    requirements = [Requirement(line) for line in lines]
    named: dict[str, Requirement] = {canonicalize_name(each.name): each for each in requirements}
    assert len(named) == len(requirements), "a package is listed twice"
    return named


def declared() -> dict[str, Requirement]:
    """What pyproject.toml asks for, extras included, as ranges."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return by_name([*project["dependencies"], *(line for extra in extras for line in extra)])


def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return by_name([line for line in lines if line and not line.startswith("#")])


def pip_section() -> list[str]:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [section] = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return section


def environment() -> dict[str, Requirement]:
    return by_name([line for line in pip_section() if not line.startswith("--")])


def exact_version(requirement: Requirement) -> str:
    [specifier] = requirement.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, f"{requirement} is not an exact pin"
    return specifier.version


@pytest.mark.parametrize("name", declared())
def test_every_declared_package_is_pinned_inside_its_range(name: str) -> None:
    assert declared()[name].specifier.contains(exact_version(constraints()[name]))


def test_every_constraint_is_an_exact_pin() -> None:
    for requirement in constraints().values():
        exact_version(requirement)


def test_the_conda_environment_pins_just_the_declared_packages() -> None:
    assert environment().keys() == declared().keys()


@pytest.mark.parametrize("name", environment())
def test_the_conda_environment_and_the_constraints_pin_the_same_version(name: str) -> None:
    assert exact_version(environment()[name]) == exact_version(constraints()[name])


def test_the_conda_environment_applies_the_constraints_to_what_comes_along() -> None:
    assert "--constraint constraints.txt" in pip_section()


def test_the_torch_release_that_breaks_torchvision_is_ruled_out() -> None:
    assert not declared()["torch"].specifier.contains("2.13.0")


@pytest.mark.parametrize("name", ["pyproject.toml", "environment.yml", "constraints.txt"])
def test_no_dependency_list_names_an_address(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()


def test_the_environment_of_make_has_the_extras_whose_tests_are_skipped_without_them() -> None:
    assert '-e ".[dev,onnx]"' in (ROOT / "Makefile").read_text()
