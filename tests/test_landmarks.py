"""Landmarks as 3D Slicer, Excel and people write them."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from nnunet_topo.commands.register import _landmarks, _parser
from nnunet_topo.registration import read_landmarks, write_landmarks

MENTON, GONION = (1.5, -2.25, 30.0), (-40.0, 12.5, 7.0)
EXPECTED = {"menton": MENTON, "gonion, left": GONION}


def markups(*points, system="LPS", **more):
    controls = [{"id": str(number), "label": label, "position": position, "positionStatus": status}
                for number, (label, position, status) in enumerate(points)]
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls, **more}
    return json.dumps({"markups": [markup]})


def slicers(label, position, status="defined"):
    return label, list(position), status


FCSV = ("# Markups fiducial file version = 4.11\n# CoordinateSystem = {}\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        "1,{},{},30,0,0,0,1,1,1,0,menton,,\n"
        '2,{},{},7,0,0,0,1,1,1,0,"gonion, left",,\n')
FILES = {
    "slicer.mrk.json": markups(slicers("menton", MENTON), slicers("gonion, left", GONION)),
    "ras.mrk.json": markups(slicers("menton", (-1.5, 2.25, 30)), slicers("gonion, left", (40, -12.5, 7)), system="RAS"),
    "millimetres.mrk.json": markups(slicers("menton", MENTON), slicers("gonion, left", GONION), coordinateUnits="mm"),
    "old.fcsv": FCSV.format("0", -1.5, 2.25, 40, -12.5),
    "new.fcsv": FCSV.format("LPS", 1.5, -2.25, -40, 12.5),
    "plain.csv": 'name,x,y,z\nmenton,1.5,-2.25,30\n"gonion, left",-40,12.5,7\n',
    "spaces.csv": ' Name , X , Y , Z \n\n menton , 1.5 , -2.25 , 30 \n "gonion, left" , -40,12.5,7\n ,,,\n',
    "other_order.csv": 'side,z,y,x,name\nboth,30,-2.25,1.5,menton\nleft,7,12.5,-40,"gonion, left"\n',
    "excel.csv": "name;x;y;z;\r\nmenton;1,5;-2,25;30;\r\ngonion, left;-40;12,5;7;\r\n;;;;\r\n",
    "excel_sep.csv": "sep=;\r\nname;x;y;z\r\nmenton;1,5;-2,25;30,0\r\ngonion, left;-40;12,5;7\r\n",
    "points.csv": "name;x;y;z\nmenton;1.5;-2.25;30\ngonion, left;-40;12.5;7\n",
    "tabs.csv": "name\tx\ty\tz\nmenton\t1,5\t-2,25\t30\ngonion, left\t-40\t12,5\t7\n",
    "old_mac.csv": 'name,x,y,z\rmenton,1.5,-2.25,30\r"gonion, left",-40,12.5,7\r',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_gives_positions_in_lps(name, encoding, tmp_path):
    (tmp_path / name).write_bytes(FILES[name].replace("menton", "Höcker").encode(encoding))
    read = read_landmarks(tmp_path / name)
    assert {key: tuple(place) for key, place in read.items()} == {"Höcker": MENTON, "gonion, left": GONION}


def test_what_is_written_is_read_again_with_any_name(tmp_path):
    there = {name: np.array(place) for name, place in
             (*EXPECTED.items(), ('a "quoted" one; here', (0, 1, 2)), ("Höcker\x85b", (3, 4, 5)), ("c\nd", (6, 7, 8)))}
    write_landmarks(there, tmp_path / "a.csv")
    read = read_landmarks(tmp_path / "a.csv")
    assert list(read) == list(there) and all(np.allclose(read[name], there[name], atol=1e-4) for name in there)
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_names_are_the_same_however_unicode_writes_their_accents(tmp_path):
    for name, spelled in (("a.csv", "H\u00f6cker"), ("b.csv", "Ho\u0308cker")):
        (tmp_path / name).write_text(f"name,x,y,z\n{spelled},1,2,3\n", encoding="utf-8")
    assert list(read_landmarks(tmp_path / "a.csv")) == list(read_landmarks(tmp_path / "b.csv"))


@pytest.mark.parametrize("name, text", [
    ("a.mrk.json", markups(slicers("menton", MENTON), ("gonion", "", "undefined"), ("condyle", [0, 0, 0], "missing"),
                           ("pole", [0, 0, 0], "preview"), slicers("menton", (0, 0, 0), "undefined"))),
    ("a.csv", "name,x,y,z\nmenton,1.5,-2.25,30\ngonion,,,\nmenton,,,\n"),
])
def test_points_that_were_not_placed_are_left_out(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert {key: tuple(place) for key, place in read_landmarks(tmp_path / name).items()} == {"menton": MENTON}


@pytest.mark.parametrize("name, text, words", [
    ("a.mrk.json", markups(slicers("menton", MENTON), slicers("menton ", GONION)), "several points of the name 'men"),
    ("a.csv", "name,x,y,z\na,1,2,3\nb,1,2,3\na,1,2,4\nb,1,2,3\n", "several points of the name 'a', 'b'"),
    ("a.fcsv", FCSV.format("LPS", 1, 2, 3, 4).replace('"gonion, left"', "menton"), "several points of the name 'men"),
    ("a.csv", "name,x,y,z\ngonion, left,1,2,3\n", "its line 2 has 5 entries where the first has 4; a name with"),
    ("a.csv", "name,x,y,z\nmenton,1,2\n", "its line 2 has 3 entries"),
    ("a.csv", "name,x,y\nmenton,1,2\n", "without the columns name, x, y, z"),
    ("a.csv", "name,x,y,z,x\nmenton,1,2,3,4\n", "without the columns name, x, y, z once each"),
    ("a.csv", "", "without the columns"),
    ("a.csv", "name,x,y,z\nmenton,1,2,far\n", r"position \['1', '2', 'far'\] of 'menton' is not three numbers"),
    ("a.csv", "name,x,y,z\nmenton,1,,3\n", "is not three numbers"),
    ("a.csv", "name,x,y,z\nmenton,1,2,nan\n", "is not three numbers"),
    ("a.csv", "name,x,y,z\n,1,2,3\n", "one of its points has no name"),
    ("a.csv", "name;x;y;z\nmenton;1.234,5;2;3\n", "is not three numbers"),
    ("a.csv", "name,x,y,z\nmenton,,,\n", "holds no landmark that was placed"),
    ("a.mrk.json", markups(slicers("menton", MENTON), system="IJK"), "its coordinate system is 'IJK'"),
    ("a.mrk.json", markups(slicers("menton", MENTON), coordinateUnits="um"), "its coordinates are in um"),
    ("a.fcsv", FCSV.format("2", 1, 2, 3, 4), "its coordinate system is '2'"),
    ("a.mrk.json", markups(slicers("menton", (1, 2))), "is not three numbers"),
    ("a.mrk.json", "{}", "it lacks 'markups'"),
    ("a.mrk.json", "[1]", "is not a file of landmarks"),
    ("a.mrk.json", "name,x", "is not a file of landmarks"),
    ("a.fcsv", "1,2,3,4\n", "it lacks 'label'"),
])
def test_what_is_unclear_is_refused_with_the_files_name(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_landmarks(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.mrk.json", "a.fcsv"])
@pytest.mark.parametrize("content", [gzip.compress(b"name,x,y,z\n", mtime=0), bytes(range(256)), b"\xff\xfe\0\0\1\0"],
                         ids=["gzip", "bytes", "UTF-32"])
def test_a_binary_file_is_named(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is a binary file, not a file of landmarks") as caught:
        read_landmarks(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv cannot be read"):
        read_landmarks(tmp_path / "none.csv")


def test_the_command_says_which_landmarks_are_left_out(tmp_path, capsys):
    for name, points in (("one.csv", "abc"), ("two.csv", "bcd")):
        (tmp_path / name).write_text("name,x,y,z\n" + "".join(f"{point},1,2,3\n" for point in points))
    options = _parser().parse_args(["-landmarks_fixed", str(tmp_path / "one.csv"),
                                    "-landmarks_moving", str(tmp_path / "two.csv")])
    assert set(_landmarks(options)["fixed_landmarks"]) == {"a", "b", "c"}
    assert "of one file only, which are left out: a, d" in capsys.readouterr().out
