"""The table of mutations does not rot: each text is there once, and so is the test that misses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import MUTATIONS, Mutation, main, not_there_once


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_is_taken_out_stands_once_and_the_test_that_misses_it_is_there(mutation):
    assert not not_there_once(mutation) and mutation.old != mutation.new
    file, _, function = mutation.test.partition("::")
    assert f"def {function}" in (Path(__file__).parent / file).read_text()


def test_what_does_not_stand_once_is_named(tmp_path, capsys):
    (tmp_path / "a.py").write_text("a = 1\nb = 1\n")
    for file, old, count in (("a.py", "1", 2), ("a.py", "c", 0), ("b.py", "1", 0)):
        mutation = Mutation("number", file, old, "2", "test.py")
        assert not_there_once(mutation, tmp_path) == f"number: its text stands {count} times in {file}, not once."
    assert not not_there_once(Mutation("number", "a.py", "a", "c", "test.py"), tmp_path)
    assert main(["no such name"]) == 1 and "No mutation is named by no such name" in capsys.readouterr().out
