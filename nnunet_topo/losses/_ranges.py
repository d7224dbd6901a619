"""Ranges of the losses' options, as settings in files are held to them.

Their upper ends keep out slips, such as an exponent too many; constructors refuse only what has no meaning.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le

Smoothing = Annotated[float, Ge(1e-12), Le(1e6)]
Factor = Annotated[float, Ge(0), Le(1e6)]
Share = Annotated[float, Ge(0), Le(1)]
Exponent = Annotated[float, Gt(0), Le(10)]
Voxels = Annotated[int, Ge(0), Le(10_000)]  # 0 stands for none, or for all, as the option says
Steps = Annotated[int, Ge(1), Le(10_000)]
Samples = Annotated[int, Ge(1), Le(100)]
Threads = Annotated[int, Ge(1), Le(10_000)]
Axis = Annotated[int, Ge(0), Le(2)]
