"""Parsed JSON or YAML held to the shape that was promised: plain values in, frozen dataclasses out.

The dataclass is the schema: a field without a default must be there, a value must have the annotated type, and keys
that the dataclass does not name are left alone, so that a later version may add some.
"""

import json
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from sparsity.records import SCHEMA

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", type(None): "null"}


def decode_document(kind: type[T], document: Any) -> T:
    """Turn a parsed document that declares its `schema` into `kind`.

    Raises:
        ValueError: the document is no mapping, declares another schema, or a field is missing or of the wrong type; the
            message names the field.
    """
    declared = document.get("schema") if isinstance(document, dict) else None
    if declared != SCHEMA:
        raise ValueError(f"it declares schema {declared}, this version reads schema {SCHEMA}")
    decoded: T = decode(kind, document, "")
    return decoded


def load_yaml(path: Path, read: Callable[[Any], T]) -> T:
    """Read a YAML file of the repository and hand the parsed document to `read`.

    Raises:
        ValueError: one sentence with the file that is damaged and what is wrong in it.
    """
    try:
        return read(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValueError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be used: {problem}; restore it from the repository.") from error


def load_json(path: Path, kind: type[T], remedy: str) -> T:
    """Read a JSON record that declares its `schema` as `kind`.

    Raises:
        ValueError: one sentence with the file that is damaged, what is wrong in it and the remedy.
    """
    try:
        return decode_document(kind, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}; {remedy}.") from error


def decode(kind: Any, value: Any, where: str) -> Any:
    """Turn `value` into `kind`: a dataclass, tuple[X, ...], dict[str, X], a union, Any, str, int, float, bool or None.

    Raises:
        ValueError: naming `where` (a dotted path), what is there and what is expected.
    """
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if kind is Any:
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return _decode_union(inner, value, where)
    if origin is tuple:
        return tuple(decode(inner[0], item, f"{where}[{i}]") for i, item in enumerate(_expect(list, value, where)))
    if origin is dict:
        return {str(key): decode(inner[1], item, f"{where}.{key}") for key, item in _expect(dict, value, where).items()}
    return _decode_plain(kind, value, where)


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    mapping, hints = _expect(dict, value, where), _hints(kind)
    prefix = f"{where}." if where else ""
    arguments = {
        entry.name: decode(hints[entry.name], mapping[entry.name], prefix + entry.name)
        for entry in fields(kind)
        if _is_present(entry, mapping, prefix)
    }
    return kind(**arguments)


def _is_present(entry: Field[Any], mapping: dict[str, Any], prefix: str) -> bool:
    if entry.name in mapping:
        return True
    if entry.default is MISSING and entry.default_factory is MISSING:
        raise ValueError(f"{prefix}{entry.name} is missing")
    return False


def _decode_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in kinds[:-1]:
        try:
            return decode(kind, value, where)
        except ValueError:
            continue
    return decode(kinds[-1], value, where)


def _decode_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{where} is {value!r}, expected {_WORDS[kind]}")
    return value


def _expect(kind: type[T], value: Any, where: str) -> T:
    if not isinstance(value, kind):
        word = "a list" if kind is list else "a mapping"
        raise ValueError(f"{where or 'the document'} is {value!r:.60}, expected {word}")
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
