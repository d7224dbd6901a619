"""Declared terms, and what a plans file may change."""

from __future__ import annotations

import pytest

from nnunet_topo.losses import ClDiceLoss
from nnunet_topo.nnunet import Term
from nnunet_topo.nnunet.terms import declared_terms, resolve_terms


class A:
    cl_dice = Term(ClDiceLoss, options={"iterations": 5})


class B:
    second = Term(ClDiceLoss, weight=2.0, options={"iterations": 9})


def resolved(plans: dict, declared=None, configuration: str = "2d") -> dict:
    terms = resolve_terms(declared_terms(A) if declared is None else declared, plans, configuration)
    return {name: term.settings() for name, term in terms.items()}


def test_terms_combine_by_inheritance():
    class Both(A, B):
        pass

    class Changed(Both):
        cl_dice = Term(ClDiceLoss, weight=0.5)
        second = None

    assert set(declared_terms(Both)) == {"cl_dice", "second"}
    assert {name: term.weight for name, term in declared_terms(Changed).items()} == {"cl_dice": 0.5}


def test_settings_hold_the_schedule_and_every_option_with_its_default():
    settings = resolved({})["cl_dice"]
    assert settings.items() >= {"weight": 1.0, "start_epoch": 0, "ramp_epochs": 0, "levels": 1, "iterations": 5}.items()
    assert "smooth" in settings


def test_the_configurations_entry_wins_over_the_inherited_and_the_general_one():
    plans = {
        "nnunet_topo": {"cl_dice": {"weight": 0.1, "iterations": 1, "start_epoch": 1}},
        "configurations": {
            "3d_fullres": {"nnunet_topo": {"cl_dice": {"weight": 0.2, "iterations": 2}}},
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "nnunet_topo": {"cl_dice": {"weight": 0.3}}},
        },
    }
    settings = resolved(plans, configuration="3d_cascade_fullres")["cl_dice"]
    assert (settings["weight"], settings["iterations"], settings["start_epoch"]) == (0.3, 2, 1)


def test_null_asks_for_the_value_from_the_labels():
    assert resolved({"nnunet_topo": {"cl_dice": {"iterations": None}}})["cl_dice"]["iterations"] is None


def test_known_terms_of_other_trainers_are_passed_over():
    assert set(resolved({"nnunet_topo": {"cl_dice": {"weight": 2}}}, declared_terms(B))) == {"second"}


@pytest.mark.parametrize(("entry", "error", "sentence"), [
    ({"cl_dicce": {}}, ValueError, "unknown term 'cl_dicce'. Known terms are"),
    ({"cl_dice": {"iteratons": 3}}, ValueError, "unknown setting 'iteratons'. ClDiceLoss knows"),
    ({"cl_dice": {"weight": True}}, TypeError, "'weight' must be a number, got True of type bool"),
    ({"cl_dice": {"weight": float("nan")}}, ValueError, "must be a finite number"),
    ({"cl_dice": {"iterations": 2.0}}, TypeError, "'iterations' must be an integer or null"),
    ({"cl_dice": {"batch_wise": 1}}, TypeError, "'batch_wise' must be true or false"),
    ({"cl_dice": {"levels": 0}}, ValueError, "'levels' must be at least 1, got 0"),
    ("cl_dice", TypeError, "must map names of terms"),
])
def test_wrong_entries_get_a_sentence(entry, error, sentence):
    with pytest.raises(error, match=sentence):
        resolved({"nnunet_topo": entry})
