"""Reads the defaults of a constructor from its source, so that asking for them does not cost the import of torch."""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def defaults(address: str) -> dict[str, Any]:
    """Argument -> default of the function or class at a dotted address, where the default is a plain value.

    Empty for what cannot be read so: an address that leads nowhere, or a name that its module only hands on.
    """
    module, _, name = address.rpartition(".")
    path = _source(module)
    return {} if path is None else _defaults_in(path, name)


@functools.lru_cache
def _defaults_in(path: Path, name: str) -> dict[str, Any]:
    body = ast.parse(path.read_text()).body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return dict(_plain(_named(node.body, "__init__")))
    return dict(_plain(_named(body, name)))


def _source(module: str) -> Path | None:
    """The file of a module, whose packages alone are imported."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    path = Path(found.origin) if found is not None and found.origin else None
    return path if path is not None and path.suffix == ".py" else None


def _named(body: list[ast.stmt], name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    return next((node for node in body if isinstance(node, _FUNCTIONS) and node.name == name), None)


def _plain(function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Iterator[tuple[str, Any]]:
    """The arguments of a function whose defaults are literals."""
    if function is None:
        return
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    optional = positional[len(positional) - len(arguments.defaults) :]
    pairs = [*zip(optional, arguments.defaults, strict=True)]
    pairs += [(key, of) for key, of in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if of is not None]
    for argument, default in pairs:
        try:
            yield argument.arg, ast.literal_eval(default)
        except ValueError:
            continue
