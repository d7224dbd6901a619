"""YAML as people mean it: 1.2's plain values, no key twice, and an error in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# What a plain value can be, by YAML 1.2's core schema. PyYAML keeps to 1.1, in which no and off are false, 011 is 9,
# 1:30 is 90, 1e-3 is a text and 2026-01-01 a date.
_PLAIN = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+0123456789.")),
    ("merge", r"<<", ["<"]),
)


def read_yaml(path: Path) -> Any:
    """The contents of a YAML file; ValueError in one line for a file that cannot be read, or is not YAML."""
    try:
        import yaml
    except ImportError as error:
        raise ValueError("A study file is read with PyYAML, which is not installed: "
                         "pip install PyYAML submitit.") from error

    try:
        return yaml.load(path.read_bytes(), Loader=_loader())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        tab = " YAML indents by spaces, not by tabs." if "'\\t'" in str(error.problem) else ""
        raise ValueError(f"{path}{where} is not YAML: {error.problem or error.context}.{tab}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}).") from error


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: dict[str, int] = {}
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"the key {key.value!r} stands here and in line {seen[key.value]}; one of the "
                            "two would be lost", key.start_mark)
                    seen[key.value] = key.start_mark.line + 1
            return super().construct_mapping(node, deep)

    for name, pattern, first in _PLAIN:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), first)
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
    Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(
        re.sub(r"\.(?=inf|nan)", "", loader.construct_scalar(node).lower())))
    return Loader
