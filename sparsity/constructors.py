"""Constructors that settings name by `_target_`: what their arguments may be, and a call of them that waits.

Their defaults are read from the source, so that asking for them does not cost the import of torch.
"""

import ast
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

KINDS_OF_VALUES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def defaults(address: str) -> dict[str, Any]:
    """Argument -> default of the function or class at a dotted address, where the default is a plain value.

    Empty for what cannot be read so: an address that leads nowhere, or a name that its module only hands on.
    """
    module, _, name = address.rpartition(".")
    path = _source(module)
    return {} if path is None else _defaults_in(path, name)


def bind(
    group: str, node: Mapping[str, Any], offered: Mapping[str, Any] | None = None, later: Sequence[str] = ()
) -> Callable[..., Any]:
    """A call of the node's `_target_` with the node's other keys, which must be its parameters.

    Args:
        group: of settings, by which errors name it.
        offered: further arguments, for those parameters of the target that ask for them.
        later: names of those that are handed over when it is called.

    Raises:
        ValueError: if the node names nothing that can be imported, or has a key too many, too few or of another type.
    """
    target = imported(group, node)
    parameters = inspect.signature(target).parameters
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    for key in arguments:
        if key not in parameters or key in later:
            known = ", ".join(name for name in parameters if name not in later) or "none"
            raise ValueError(f"{group}.{key} is not a setting of {target.__name__}; its settings are {known}.")
    for key, value in arguments.items():
        _check_kind(f"{group}.{key}", value, parameters[key].annotation)
    arguments |= {key: value for key, value in (offered or {}).items() if key in parameters}
    for key, parameter in parameters.items():
        is_single = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_single and parameter.default is parameter.empty and key not in (*arguments, *later):
            raise ValueError(f"{group}.{key} is missing, and {target.__name__} needs it: write {group}.{key}=VALUE.")
    return lambda **late: target(**arguments, **{key: value for key, value in late.items() if key in parameters})


def imported(group: str, node: Mapping[str, Any]) -> Any:
    """What a node's `_target_` names. Raises ValueError where that is nothing."""
    if "_target_" not in node:
        raise ValueError(
            f"{group}._target_ is missing: name the {group}'s constructor, e.g. sparsity.models.lenet.LeNet5."
        )
    module, _, name = str(node["_target_"]).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{group}._target_={node['_target_']} cannot be imported ({error}); check its spelling."
        ) from error


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


def _check_kind(path: str, value: Any, annotation: Any) -> None:
    """Hold an argument to the type that its constructor says, where that is one of YAML's."""
    if not _is_of(value, annotation):
        raise ValueError(f"{path}={value} is of another kind than the setting, which is {_kind(annotation)}.")


def _kind(annotation: Any) -> str:
    """A type of YAML's in words."""
    if get_origin(annotation) is list:
        return f"a list, of which each is {_kind(get_args(annotation)[0])}"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(_kind, get_args(annotation)))
    return KINDS_OF_VALUES[annotation]


def _is_of(value: Any, annotation: Any) -> bool:
    """Whether a value of YAML is of a type; of a type that YAML cannot say it is assumed."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin is list or annotation is list:
        return isinstance(value, list) and all(_is_of(each, part) for part in parts for each in value)
    if annotation not in KINDS_OF_VALUES:
        return True
    is_number = isinstance(value, (int, float) if annotation is float else int) and not isinstance(value, bool)
    return is_number if annotation in (int, float) else isinstance(value, annotation)
