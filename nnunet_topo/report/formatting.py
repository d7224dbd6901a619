"""What pages share: their template engine, and values as people read them."""

from __future__ import annotations

import base64
import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nnunet_topo.metrics.definitions import definition_of, title_of

_PAGE = Path(__file__).parent / "page"
# Okabe and Ito's colours, told apart with the common kinds of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
_LONGEST_NAME = 24  # letters beside a distribution


def page_environment() -> Environment:
    """For the templates in ``report/page``, with filters for metrics and their values."""
    environment = Environment(loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": formatted, "signed": _signed, "p": _p, "raw": _raw, "title": title_of, "arrow": _arrow,
        "unit": lambda name: attribute(name, "unit").replace("1", "share") if name else "",
        "better": lambda name: f"{attribute(name, 'better')} is better" if attribute(name, "better") else "",
        "definition": lambda name: attribute(name, "definition"), "short": _short,
        "base64": lambda file: base64.b64encode(Path(file).read_bytes()).decode(),
    }
    return environment


def part_of_page(name: str) -> Markup:
    """A file of ``report/page`` to be put into a page as it is."""
    return Markup((_PAGE / name).read_text(encoding="utf-8"))


def attribute(metric: str, name: str) -> str:
    definition = definition_of(metric)
    return "" if definition is None else str(getattr(definition, name))


def _arrow(metric: str) -> str:
    return {"higher": "↑", "lower": "↓"}.get(attribute(metric, "better"), "")


def formatted(value: float, metric: str, mean: bool = False) -> str:
    """A value as people read it: shares with three decimals, counts without, lengths with two, volumes with one."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    unit = attribute(metric, "unit")
    decimals = 3 if unit == "1" else 1 if unit.startswith("mm³") else 2 if mean or unit != "count" else 0
    return f"{value:,.{decimals}f}".replace("-", "−")


def _signed(value: float, metric: str) -> str:
    text = formatted(abs(value), metric, mean=True)
    return text if not text.strip("0.–") else f"{'+' if value > 0 else '−'}{text}"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _raw(value: float) -> str:
    return "" if math.isnan(value) else str(value).replace("inf", "Infinity")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
