"""Declared terms, and what a plans file may change."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated

import pytest
import torch
from annotated_types import Gt
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_topo import losses
from nnunet_topo.losses import ClDiceLoss, MIPLoss, SCNPLoss, TopologyLoss
from nnunet_topo.nnunet import Term
from nnunet_topo.nnunet.training.terms import declared_terms, resolve_terms

LOSSES = [getattr(losses, name) for name in losses.__all__ if name.endswith("Loss") and name != "TopologyLoss"]


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


@pytest.mark.parametrize(("entry", "sentence"), [
    ({"cl_dicce": {}}, "unknown term 'cl_dicce'. Known terms are"),
    ({"cl_dice": {"iteratons": 3}}, r"unknown key\(s\) 'iteratons'. ClDiceLoss knows"),
    ({"cl_dice": {"weight": True}}, "weight must be a number from 0 to 1,000,000, not True"),
    ({"cl_dice": {"weight": float("nan")}}, "weight must be a number from 0 to 1,000,000, not nan"),
    ({"cl_dice": {"weight": 1e308}}, r"weight must be a number from 0 to 1,000,000, not 1e\+308"),
    ({"cl_dice": {"weight": 10**400}}, "weight must be a number from 0 to 1,000,000, not 1000"),
    ({"cl_dice": {"iterations": 2.0}}, "iterations must be a whole number from 1 to 10,000, or null, not 2.0"),
    ({"cl_dice": {"iterations": 0}}, "iterations must be a whole number from 1 to 10,000, or null, not 0"),
    ({"cl_dice": {"iterations": 10**30}}, "iterations must be a whole number from 1 to 10,000, or null, not 1000"),
    ({"cl_dice": {"samples": 10**30}}, "samples must be a whole number from 1 to 100, not 1000"),
    ({"cl_dice": {"smooth": 0}}, "smooth must be a number from 1e-12 to 1,000,000, not 0"),
    ({"cl_dice": {"batch_wise": 1}}, "batch_wise must be true or false, not 1"),
    ({"cl_dice": {"skeleton": "sof"}}, 'skeleton must be "soft" or "topological", not \'sof\''),
    ({"cl_dice": {"levels": 0}}, "levels must be a whole number from 1 to 100, or null, not 0"),
    ({"cl_dice": {"start_epoch": date(2026, 1, 1)}}, "start_epoch must be a whole number from 0 to 1,000,000, not"),
    ({"cl_dice": {"smooth": b"1"}}, "smooth must be a number from 1e-12 to 1,000,000, not b'1'"),
    ({"cl_dice": [1]}, r"\['cl_dice'\] must map names of settings"),
    ("cl_dice", "must map names of terms"),
])
def test_wrong_entries_get_a_sentence(entry, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolved({"nnunet_topo": entry})


@pytest.mark.parametrize(("name", "loss", "settings", "sentence"), [
    ("mip", MIPLoss, {"axes": [True]}, "axes must be a list of whole numbers from 0 to 2, at least 1, not True in"),
    ("mip", MIPLoss, {"axes": [1, 1]}, "term 'mip': axes must be one or more of 0, 1 and 2, each once"),
    ("mip", MIPLoss, {"axes": []}, "axes must be a list of whole numbers"),
    ("mip", MIPLoss, {"gamma": 0}, "gamma must be a number above 0 and at most 10, not 0"),
    ("scnp", SCNPLoss, {"receptive_field": 4}, "term 'scnp': receptive_field must be an odd number"),
])
def test_what_a_loss_cannot_do_is_refused_with_the_settings(name, loss, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolved({"nnunet_topo": {name: settings}}, {name: Term(loss)})


values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(),
                                                                                  inner, max_size=3), max_leaves=4)


@pytest.mark.parametrize("loss", LOSSES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_a_plans_file_says_either_builds_the_loss_or_is_refused_in_one_line(loss, data):
    term = Term(loss)
    options = data.draw(st.dictionaries(st.sampled_from(sorted(term.settings())), values, max_size=2))
    try:
        (changed,) = resolve_terms({"x": term}, {"nnunet_topo": {"x": options}}, "2d").values()
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
    else:
        changed.build()
        assert changed.settings() == term.settings() | options
        json.dumps(options)
        for name, value in options.items():  # a default's type decides, but for a whole number instead of a number
            default = term.settings()[name]
            assert (value is None or default is None or type(value) is type(default)
                    or (type(value), type(default)) in ((int, float), (list, tuple)))


class FalseAlarmLoss(TopologyLoss):
    """A loss of another package."""

    name = "false_alarm"

    def __init__(self, *, exponent: Annotated[float, Gt(0)] = 2.0) -> None:
        super().__init__()
        self.exponent = exponent


def test_a_loss_of_another_package_is_set_in_the_plans_and_passed_over_by_other_trainers():
    entry = {"nnunet_topo": {"false_alarm": {"exponent": 3.0, "weight": 0.5}, "cl_dice": {"iterations": 4}}}
    (term,) = resolve_terms({"false_alarm": Term(FalseAlarmLoss)}, entry, "2d").values()
    assert (term.build().exponent, term.weight) == (3.0, 0.5)
    assert set(resolve_terms(declared_terms(A), entry, "2d")) == {"cl_dice"}
    with pytest.raises(ValueError, match="exponent must be a number above 0, not 0"):
        resolve_terms({"false_alarm": Term(FalseAlarmLoss)}, {"nnunet_topo": {"false_alarm": {"exponent": 0}}}, "2d")


@pytest.mark.parametrize("loss", [torch.nn.L1Loss, FalseAlarmLoss(), "cl_dice"])
def test_a_term_is_of_a_class_that_says_what_a_loss_may_have(loss):
    with pytest.raises(TypeError, match=r"must be a class that derives from nnunet_topo\.losses\.TopologyLoss"):
        Term(loss)
