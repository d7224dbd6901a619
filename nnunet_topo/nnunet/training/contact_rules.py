"""Which labels never touch in any training case: rules for topological interactions, with the cases that support them.

Labels are those that the network sees, after resampling and cropping, whole cases. Pairs across the border of a case
are not known and count neither way. Zero contacts in n cases leave a probability of a contact of up to 3 / n in a
further one (95 %).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_topo.homology import REACHES, Reach, count_contacts, half_offsets, offsets_within

Record = Mapping[str, list[int]]  # of a pair of labels, as "1 3": contacts over each half offset, then those two away
_SLIPS = 5, 0.02  # voxel pairs in a case, and share of the cases: no more than that may be an error of the labels


@dataclass(frozen=True)
class ContactRule:
    """Two labels that never touch.

    Attributes:
        labels: of the pair, the lower one first; 0 is the background.
        reach: across what they never touch.
        cases: in how many cases both occur.
        tight: in how many of these one voxel, or none, is between them somewhere, which augmentation may close.
    """

    labels: tuple[int, int]
    reach: Reach
    cases: int
    tight: int


def contacts_of(labels: np.ndarray, classes: int, *, ignored: int | None, in_slices: bool) -> dict[str, list[int]]:
    """Contacts of a case, in a form that JSON can hold; labels below 0 are background."""
    counts = count_contacts(np.maximum(labels, 0), classes, distance=2, ignored=ignored, in_slices=in_slices)
    near = len(half_offsets(labels.ndim))
    columns = [*counts[:near], counts[near:].sum(0)]
    return {f"{one} {other}": [int(column[one, other]) for column in columns]
            for one, other in np.argwhere(counts.any(0)).tolist()}


def learn_rules(
    records: Mapping[str, Record], present: Mapping[str, Sequence[int]], classes: int, *,
    spacing: Sequence[float] | None, min_cases: int,
) -> tuple[list[ContactRule], list[str]]:
    """Rules, and sentences about pairs that touch so little that it may be an error.

    Args:
        records: of each case what :func:`contacts_of` gives.
        present: of each case the labels that occur.
        classes: number of labels, that of the background among them.
        spacing: see :func:`nnunet_topo.homology.offsets_within`.
        min_cases: in so many cases both labels must occur.
    """
    axes = 3  # as nnU-Net keeps them, a slice too
    thick = spacing is not None and sorted(spacing)[-1] >= 1.5 * sorted(spacing)[-2]
    reaches = {reach: offsets_within(reach, axes, spacing) for reach in REACHES if reach != "slice" or thick}
    rules, slips = [], []
    for one in range(classes):
        for other in range(one + 1, classes):
            cases = [case for case, labels in present.items() if one in (0, *labels) and other in labels]
            if len(cases) < min_cases:
                continue
            nothing = [0] * (len(reaches["corners"]) + 1)
            counts = np.array([records[case].get(f"{one} {other}", nothing) for case in cases])
            over = {reach: counts[:, :-1][:, counted].sum(1) for reach, counted in reaches.items()}
            never = next((reach for reach in reaches if not over[reach].any()), None)
            if never is not None:
                tight = int(np.count_nonzero(counts.sum(1)))
                rules.append(ContactRule((one, other), never, len(cases), tight))
            elif np.count_nonzero(over["faces"]) <= _SLIPS[1] * len(cases) and over["faces"].max() <= _SLIPS[0]:
                where = [case for case, count in zip(cases, over["faces"], strict=True) if count]
                slips.append(f"Labels {one} and {other} touch in {', '.join(where)} only, across {over['faces'].max()} "
                             f"faces at most, and in none of the other {len(cases) - len(where)} cases: look at the "
                             "labels there. No rule was made of it.")
    return rules, slips


def described(rules: Sequence[ContactRule], classes: int) -> list[str]:
    """A sentence for each rule about two classes, and one for each class that touches one label alone."""
    apart = {rule.labels for rule in rules if rule.reach == "corners"}
    sentences = []
    for rule in rules:
        one, other = rule.labels
        what = "the background" if one == 0 else str(one)
        across = {"corners": "", "faces": " across faces", "slice": " within slices"}[rule.reach]
        tight = f"; tight: less than two voxels apart in {rule.tight}" if rule.tight else ""
        sentences.append(f"{what} and {other} never touch{across} ({rule.cases} cases with both{tight})")
    for inner in range(1, classes):
        others = [label for label in range(classes) if label != inner
                  and (min(label, inner), max(label, inner)) not in apart]
        if len(others) == 1 and len(apart) > 0 and others[0] != 0:
            sentences.append(f"{inner} is enclosed by {others[0]}: it touches nothing else")
    return sentences
