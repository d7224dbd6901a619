"""What a study file may say: types, ranges and names, YAML's own pitfalls, and one sentence for what is wrong."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_topo.study.settings import Choice
from nnunet_topo.study.study_file import read_study

yaml = pytest.importorskip("yaml")
WHOLE = {"output": "out", "datasets": [1], "trainers": ["nnUNetTrainer"]}
SLURM = {"kind": "slurm", "time_minutes": 60}


def read(folder: Path, text: str | bytes):
    file = folder / "study.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_study(file)


def refused(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ValueError) as error:
        read(folder, text)
    sentence = str(error.value)
    assert sentence.startswith(str(folder / "study.yaml")) and "\n" not in sentence and len(sentence) < 1500
    return sentence.removeprefix(str(folder / "study.yaml"))


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"trainer": ["nnUNetTrainer"]}, " has the unknown key(s) 'trainer'. A study knows 'configurations', 'datasets'"),
    ({"trainers": None}, ": trainers must be a list of names without spaces and slashes, at least 1, not null."),
    ({"trainers": "nnUNetTrainer"}, ": trainers must be a list of names without spaces and slashes, at least 1, not"),
    ({"trainers": ["../nnUNetTrainer"]}, "not '../nnUNetTrainer' in ['../nnUNetTrainer']."),
    ({"output": None}, ": output must be a text in one line, not null."),
    ({"output": ""}, ": output must be a text in one line, not ''."),
    ({"output": "a\nb"}, ": output must be a text in one line, not 'a\\nb'."),
    ({"output": ["out"]}, ": output must be a text in one line, not ['out']."),
    ({"datasets": []}, ": datasets must be a list of whole numbers from 0 to 999 or names"),
    ({"datasets": [None]}, "not null in [None]."),
    ({"seeds": [0.5]}, ": seeds must be a list of whole numbers from 0 to 4,294,967,295, at least 1, not 0.5 in"),
    ({"seeds": [-1]}, "at least 1, not -1 in [-1]."),
    ({"seeds": [2**32]}, "at least 1, not 4294967296 in [4294967296]."),
    ({"seeds": 0}, "at least 1, not 0."),
    ({"epochs": 0}, ": epochs must be a whole number from 1 to 1,000,000, or null, not 0."),
    ({"iterations": 10**30}, ": iterations must be a whole number from 1 to 1,000,000, or null, not 1000"),
    ({"save_every": None}, ": save_every must be a whole number from 1 to 1,000,000, not null."),
    ({"device": "gpu"}, ': device must be "cpu" or "cuda" or "mps", not \'gpu\'.'),
    ({"mirroring": 1}, ": mirroring must be true or false, not 1."),
    ({"network": {"patch": [32, 32], "batch": 2}}, ", entry 'network' lacks features"),
    ({"network": {"patch": [32, 32], "batch": 2, "feature": [8]}}, " has the unknown key(s) 'feature'. A network "),
    ({"network": {"patch": [32], "batch": 2, "features": [8, 8, 8]}}, ": patch must be 2 or 3 sizes in voxels, as in"),
    ({"network": {"patch": [32, 32], "batch": 2, "features": [8, 8]}}, ": features must be the channels of 3 stages"),
    ({"network": {"patch": [32, True], "batch": 2, "features": [8, 8, 8]}}, "not True in [32, True]."),
    ({"network": 3}, ", entry 'network' must hold names and values, not 3."),
    ({"settings": [1]}, ": settings must be names of terms with their settings, as in {cl_dice: {weight: 0.5}}"),
    ({"settings": {"cl_dice": 3}}, "not 3 in {'cl_dice': 3}."),
    ({"settings": {"cl_dice": {"weight": b"1"}}}, "not {'cl_dice': {'weight': b'1'}}."),
    ({"groups": ["near"]}, ": groups must be names with lists of groups of manifest.csv, as in {outside: [shadows,"),
    ({"groups": {"all": "near"}}, "not 'near' in {'all': 'near'}."),
    ({"groups": {}}, ": groups must be names with lists of groups"),
    ({"tested": 5}, ": tested must be a list of metrics such as dice or betti_matching_error_sum (docs/metrics.md has"),
    ({"tested": True}, "has all), or null, not True."),
    ({"tested": ["dice", "dicee"]}, "has all), or null, not 'dicee' in ['dice', 'dicee']."),
    ({"postprocessing": None}, ", entry 'postprocessing' must be true, false, or names and values as in {metric: "),
    ({"postprocessing": {"tolerance": -1}}, "entry 'postprocessing': tolerance must be a number from 0 to 1, not -1."),
    ({"postprocessing": {"metric": "dice"}}, 'metric must be "betti_matching_error" or "betti_error", not \'dice\'.'),
    ({"postprocessing": {"tau": 0.1}}, "has the unknown key(s) 'tau'. A choice knows 'metric', 'tolerance', 'toleran"),
    ({"executor": {"kind": "local", "partition ": "gpu"}}, ", entry 'executor' has the unknown key(s) 'partition '"),
    ({"executor": {"kind": "pbs"}}, ', entry \'executor\': kind must be "local" or "slurm", not \'pbs\'.'),
    ({"executor": {"kind": "slurm"}}, ", entry 'executor': kind: slurm needs time_minutes"),
    ({"executor": SLURM | {"time_minutes": 2}}, "time_minutes must be 3 or more, not 2: a job stops 90 seconds before"),
    ({"executor": SLURM | {"processes": 2}}, "has 'processes', which only kind: local knows; this is kind: slurm."),
    ({"executor": {"memory_gb": 4}}, "has 'memory_gb', which only kind: slurm knows; this is kind: local."),
    ({"executor": SLURM | {"partition": "gpu\nrm -r x"}}, "partition must be a name without spaces and slashes, or"),
    ({"executor": SLURM | {"account": "me you"}}, "account must be a name without spaces and slashes, or null, not"),
    ({"executor": {"processes": 0}}, "': processes must be a whole number from 1 to 1,000,000, not 0."),
    ({"executor": {"processes": None}}, "': processes must be a whole number from 1 to 1,000,000, not null"),
    ({"executor": {"gpus": -1}}, ", entry 'executor': gpus must be a whole number from 0 to 1,000, not -1."),
    ({"executor": {"gpus": "0"}}, "gpus must be a whole number from 0 to 1,000, not '0'."),
    ({"executor": {"gpus": []}}, "gpus must be a whole number from 0 to 1,000, not []."),
    ({"executor": {"gpus": 2}}, "gpus must be 0 or 1 with kind: local, not 2: a training uses one GPU."),
    ({"executor": None}, ", entry 'executor' must hold names and values, not null."),
])
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, changes, sentence):
    assert sentence in refused(tmp_path, yaml.safe_dump(WHOLE | changes))


def test_what_every_study_names_must_be_there(tmp_path):
    assert refused(tmp_path, "output: out\n") == " lacks datasets, trainers, without which there is no study."


@pytest.mark.parametrize(("text", "sentence"), [
    ("seeds: [1]\n# other\nseeds: [2]", ", line 3, column 1 is not YAML: the key 'seeds' stands here and in line 1;"),
    ("executor: {gpus: 1, gpus: 0}", ", line 1, column 21 is not YAML: the key 'gpus' stands here and in line 1"),
    ("executor:\n\tgpus: 1\n", "YAML indents by spaces, not by tabs."),
    ("output: [a", ", line 1, column 11 is not YAML: "),
    ("a: 1\n---\na: 2\n", " is not YAML: but found another document"),
    ("output: *nowhere", "found undefined alias 'nowhere'"),
    ("? [1]\n: 2", "found unhashable key"),
    ("output: !!python/object/apply:os.system [true]", "could not determine a constructor"),
    (b"\x89PNG\r\n\x1a\n\0\0", " is not YAML (unacceptable character"),
    (b"output: \xe9", " is not YAML ("),
    ("[" * 5000, " is not YAML ("),
    ("seeds: [" + "9" * 5000 + "]", " is not YAML ("),
    ("", " must hold names and values, not null."),
    ("just a text", " must hold names and values, not 'just a text'."),
    ("&a [*a]", " must hold names and values, not [[[[...]]]]."),
    ("true: 1\n2: 3", " has the unknown key(s) 2, True."),
    ("seeds: &s [*s]", ": seeds must be a list of whole numbers"),
    ("mirroring: no", ": mirroring must be true or false, not 'no'."),
    ("epochs: 1:30", ": epochs must be a whole number from 1 to 1,000,000, or null, not '1:30'."),
    ("settings: {cl_dice: {weight: !!timestamp 2026-01-01}}", ": settings must be names of terms with their settings"),
    ("settings: {cl_dice: {weight: !!set {a, b}}}", ": settings must be names of terms with their settings"),
])
def test_what_is_not_yaml_or_is_another_thing_in_yaml_than_it_seems_is_refused(tmp_path, text, sentence):
    assert sentence in refused(tmp_path, text)


def test_plain_values_are_those_of_yaml_1_2(tmp_path):
    study = read(tmp_path, """
        output: &here ~nobody_of_this_name/x
        datasets: [011, 0501, "012"]   # 9, 321 in YAML 1.1
        trainers: [no, 2026-01-01x]
        groups: {on: [off, 1:30]}      # true, false, 90
        settings: {cl_dice: {weight: 1e-3, smooth: .5, threshold: 2}}
    """.replace("~nobody_of_this_name", "there"))
    assert study.datasets == (11, 501, "012") and study.trainers[0] == "no"
    assert study.groups == {"on": ["off", "1:30"]}
    assert study.settings == {"cl_dice": {"weight": 0.001, "smooth": 0.5, "threshold": 2}}
    assert study.output == tmp_path / "there" / "x"


def test_anchors_and_merged_keys_are_read(tmp_path):
    study = read(tmp_path, "output: o\ndatasets: [1]\ntrainers: [a]\n"
                 "settings: {cl_dice: &same {weight: 2}, cl_ce: {<<: *same, smooth: 3}}\n")
    assert study.settings == {"cl_dice": {"weight": 2}, "cl_ce": {"weight": 2, "smooth": 3}}


def test_a_folder_in_the_users_home_is_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert read(tmp_path, yaml.safe_dump(WHOLE | {"output": "~/study"})).output == tmp_path / "home" / "study"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path} cannot be read")):
        read_study(tmp_path)


KEYS = ["output", "datasets", "trainers", "configurations", "folds", "seeds", "plans", "epochs", "iterations", "groups",
        "validation_iterations", "save_every", "device", "mirroring", "network", "settings", "tested"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3) | st.dates()
    | st.sampled_from(["dice", "all", "cpu", 10**30, -1, 2**32]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=5)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_values_are_taken_as_they_are_or_refused_in_one_line(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    changes = data.draw(st.dictionaries(st.sampled_from(KEYS), anything, max_size=2))
    executor = data.draw(st.dictionaries(st.sampled_from(["kind", "processes", "gpus", "partition", "cpus", "account"]),
                                         anything, max_size=2) | anything)
    try:
        study = read(folder, yaml.safe_dump(WHOLE | changes | {"executor": executor}))
    except ValueError as error:
        assert str(error).startswith(str(folder)) and "\n" not in str(error) and len(str(error)) < 1500
        return
    taken = json.loads(json.dumps(asdict(study), default=str))
    for name, value in changes.items():
        if name != "output":
            assert taken[name] == json.loads(json.dumps(value))
    assert all(0 <= seed < 2**32 for seed in study.seeds) and study.executor.gpus in (0, 1)
    assert study.output != folder and "\n" not in str(study.output)


@given(text=st.text(alphabet=st.sampled_from("ab01:,-[]{}&*!?|>'\"%@` \t\n#~.eE")))
@settings(max_examples=150, deadline=None)
def test_any_text_is_refused_in_one_line(text, tmp_path_factory):
    refused(tmp_path_factory.getbasetemp(), text)


@pytest.mark.parametrize("file", sorted((Path(__file__).resolve().parents[1] / "docs" / "studies").glob("*.yaml")),
                         ids=lambda file: file.stem)
def test_the_ready_study_files_are_accepted_and_name_trainers_that_exist(file):
    from nnunet_topo.nnunet.training.lookup import require_trainer

    settings = read_study(file)
    for trainer in settings.trainers:
        require_trainer(trainer)


def test_the_documentation_names_every_key_with_its_default():
    from dataclasses import MISSING, fields

    from nnunet_topo.study.settings import Study

    page = (Path(__file__).resolve().parents[1] / "docs" / "studies.md").read_text()
    section = page.split("## The study file")[1].split("\n## ")[0]
    rows = dict(row.split(" | ")[:2] for row in section.splitlines() if row.startswith("| `"))
    shown = {name.strip("|` "): default for names, default in rows.items() for name in names.split(",")}
    for field in fields(Study):
        default = shown.pop(field.name).strip(" |")
        if field.default is not MISSING:
            assert yaml.safe_load(default) == (list(field.default) if isinstance(field.default, tuple)
                                               else field.default)
    assert not shown


def test_post_processing_is_chosen_as_the_command_does_it_unless_the_file_says_otherwise(tmp_path):
    from nnunet_topo.postprocessing.candidates import DEFAULT_METRIC, METRICS
    from nnunet_topo.postprocessing.choice import Tolerances

    def chosen(value):
        return read(tmp_path, yaml.safe_dump(WHOLE | value)).postprocessing

    default = Choice(DEFAULT_METRIC, Tolerances().dice, Tolerances().cl_dice)
    assert chosen({}) == chosen({"postprocessing": True}) == default
    assert chosen({"postprocessing": False}) is None
    for metric in METRICS:
        assert chosen({"postprocessing": {"metric": metric, "tolerance": 0}}) == replace(default, metric=metric,
                                                                                         tolerance=0)
