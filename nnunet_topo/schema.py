"""What a file may say: type hints with ranges, judged by pydantic, and a sentence for what does not fit.

A range stands in the hint, as in ``Annotated[int, Ge(1), Le(100)]``; what no rule words well has its :class:`Words`.
"""

from __future__ import annotations

import functools
import json
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MinLen, Predicate
from pydantic import ConfigDict, TypeAdapter, ValidationError


@dataclass(frozen=True)
class Words:
    """Part of a hint: how a sentence says what is accepted, of one and of several."""

    text: str
    several: str | None = None


Text = Annotated[str, Predicate(lambda text: bool(text.strip()) and text.isprintable()), Words("a text in one line")]
Name = Annotated[str, Predicate(lambda text: text.isprintable() and bool(text) and not set(text) & set(" /\\")),
                 Words("a name without spaces and slashes", "names without spaces and slashes")]


def read_entries(place: str, content: Any, hints: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """The entries of a file, each as its hint has it (a list as a tuple where it says so).

    Args:
        place: where the entries stand, for the sentence.
        content: what was read from JSON or YAML.
        hints: name of each entry that may be there -> type hint.
        owner: whose entries these are, for the sentence.

    Raises:
        ValueError: no mapping, an entry that does not exist, or one whose value does not fit.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} must hold names and values, not {short(content)}.")
    unknown = [key for key in content if key not in hints]
    if unknown:
        raise ValueError(f"{place} has the unknown key(s) {listing(unknown)}. {owner} knows {listing(hints)}.")
    return {name: read_value(f"{place}: {name}", value, hints[name]) for name, value in content.items()}


def read_value(what: str, value: Any, hint: Any) -> Any:
    """A value that was read from JSON or YAML, as its hint has it; ValueError where it does not fit.

    A whole number is a number too; nothing else is converted: neither 1 nor "yes" is true, and 2.0 is not 2.
    """
    wrong, inner = f"{what} must be {words(hint)}, not", value
    try:
        return _adapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        for step in error.errors()[0]["loc"]:  # those that are not a place in the value name a branch of the hint
            with_it = isinstance(inner, (Mapping, list)) and step in (inner if isinstance(inner, Mapping)
                                                                     else range(len(inner)))
            inner = inner[step] if with_it else inner
    except (TypeError, ValueError, RecursionError):  # a date, bytes, a set; something within itself
        pass
    raise ValueError(f"{wrong} {short(inner)}{'' if inner is value else f' in {short(value)}'}.")


def read_json(file: Path, hints: Mapping[str, Any] | None = None, *, values: Any = Any) -> dict[str, Any]:
    """A JSON file of names and values; ValueError with its name where it is damaged or a value does not fit.

    ``hints`` are those of the names that may be there; without them all names may, with the hint ``values``.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged or not JSON ({error}).") from error
    if hints is None:
        hints = dict.fromkeys(content, values) if isinstance(content, dict) else {}
    return read_entries(str(file), content, hints, owner="It")


def words(hint: Any, *, many: bool = False) -> str:
    """What a hint accepts, as a part of a sentence."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        own = [(many and part.several) or part.text for part in arguments[1:] if isinstance(part, Words)]
        return own[0] if own else words(arguments[0], many=many) + _range(arguments[1:])
    if origin in (typing.Union, types.UnionType):
        choices = " or ".join(words(choice, many=many) for choice in arguments if choice is not type(None))
        return f"{choices}, or null" if type(None) in arguments else choices
    if origin is typing.Literal:
        return " or ".join(json.dumps(choice) for choice in arguments)
    if origin is not None and issubclass(origin, (tuple, list)):
        return f"a list of {words(arguments[0], many=True)}"
    one = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null"}
    several = {float: "numbers", int: "whole numbers", str: "texts"}
    return (several.get(hint) if many else None) or one.get(hint, str(hint))


def short(value: Any) -> str:
    """A value as a sentence shows it, however large it is."""
    try:
        return "null" if value is None else _SHORT.repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return f"a {type(value).__name__} too long to write"


def listing(names: Iterable[Any]) -> str:
    return ", ".join(sorted(short(name) for name in names))


def _range(parts: Iterable[Any]) -> str:
    low = next((part for part in parts if isinstance(part, (Ge, Gt))), None)
    high = next((_number(part.le) for part in parts if isinstance(part, Le)), None)
    least = next((f", at least {part.min_length}" for part in parts if isinstance(part, MinLen)), "")
    if isinstance(low, Gt):
        return f" above {_number(low.gt)}{'' if high is None else f' and at most {high}'}{least}"
    if low is not None:
        return f" of {_number(low.ge)} or more{least}" if high is None else f" from {_number(low.ge)} to {high}{least}"
    return least if high is None else f" of {high} or less{least}"


def _number(value: Any) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 6
_SHORT.maxlevel = 3
