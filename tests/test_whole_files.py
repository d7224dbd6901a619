"""Files that were cut off or damaged, and what their readers make of them."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  its customary name
import tifffile
from skimage import io

from nnunet_topo.files import files_of, require_whole

LABELS = np.random.default_rng(0).integers(0, 3, (12, 20, 16), dtype=np.uint8)
RAW = ["a.nii", "a.hdr", "a.gipl", "raw.nrrd", "raw.mha", "raw.mhd", "raw.tif", "a.bmp"]  # voxels without checksums
TIFF = ["zlib.tif", "zlib_big.tif"]  # a header without checksum
CHECKED = ["a.nii.gz", "gzip.nrrd", "gzip.nhdr", "zlib.mha", "zlib.mhd", "a.png", "a.npz"]
HARMS = [*(("cut off", name) for name in RAW + TIFF + CHECKED), *(("zeros follow", name) for name in TIFF + CHECKED),
         *(("a byte is another", name) for name in CHECKED)]


def written(folder, name):
    """Write a file, or two; returns the one with the voxels, the one to open, and how to read it."""
    file = folder / name
    if name.endswith(".npz"):
        np.savez_compressed(file, probabilities=LABELS)
        return file, file, lambda: np.load(file)["probabilities"]
    if name.endswith(".tif"):
        tifffile.imwrite(file, LABELS, photometric="minisblack", compression="zlib" if "zlib" in name else None,
                         bigtiff="big" in name, byteorder=">" if "big" in name else "<")
        return file, file, lambda: tifffile.imread(file)
    if name.endswith((".png", ".bmp")):
        io.imsave(file, LABELS[0], check_contrast=False)
        return file, file, lambda: io.imread(file)
    compressed = "raw" not in name and file.suffix not in (".hdr", ".nii")
    sitk.WriteImage(sitk.GetImageFromArray(LABELS), str(file), compressed)
    others = [other for other in folder.iterdir() if other != file]
    return (others or [file])[0], file, lambda: sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.mark.parametrize(("harm", "name"), HARMS)
def test_no_file_is_read_with_other_values_than_it_was_written_with(tmp_path, harm, name):
    voxels, file, read = written(tmp_path, name)
    require_whole(file)
    whole, truth = voxels.read_bytes(), read()
    refused = 0
    places = {*np.linspace(1, len(whole) - 1, 25).astype(int), len(whole) - 9, len(whole) - 1}
    for place in sorted(map(int, places)):
        other = bytes([whole[place] ^ 255]) + whole[place + 1 :]
        voxels.write_bytes(whole[:place] + {"cut off": b"", "zeros follow": bytes(len(whole) - place)}.get(harm, other))
        try:
            require_whole(file)
        except ValueError as error:
            assert str(file) in str(error) and "cut off or damaged" in str(error)
            refused += 1
            continue
        try:
            found = read()
        except Exception:
            continue  # its reader says so
        assert np.array_equal(found, truth), place
    assert refused or name in ("raw.nrrd", "raw.mha", "raw.mhd", "a.bmp")  # which their readers refuse


def test_members_of_gzip_that_follow_each_other_are_one_file(tmp_path):
    voxels, file, read = written(tmp_path, "a.nii.gz")
    content = gzip.decompress(voxels.read_bytes())
    parts = [gzip.compress(content[:1000]), gzip.compress(content[1000:])]
    file.write_bytes(b"".join(parts))
    require_whole(file)
    assert np.array_equal(read(), LABELS)
    file.write_bytes(parts[0])
    with pytest.raises(ValueError, match=rf"has 1000 bytes, and its header promises {352 + LABELS.size}"):
        require_whole(file)


def test_what_gzip_and_nifti_allow_is_whole(tmp_path):
    voxels, file, _ = written(tmp_path, "a.nii.gz")
    content = gzip.decompress(voxels.read_bytes())
    for allowed in (voxels.read_bytes() + bytes(512), gzip.compress(content + bytes(7)), content):
        file.write_bytes(allowed)  # padded as on tapes, longer than needed, not compressed in spite of its name
        require_whole(file)


@pytest.mark.parametrize(("dtype", "endianness"), [("int16", "<"), ("float64", ">")])
@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
def test_the_length_of_nifti_follows_from_its_header(tmp_path, kind, dtype, endianness):
    import nibabel

    made = getattr(nibabel, kind)
    header = made.header_class(endianness=endianness)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(endianness))
    file = tmp_path / "a.nii"
    nibabel.save(made(LABELS.astype(dtype), np.eye(4), header), file)
    require_whole(file)
    content = file.read_bytes()
    assert len(content) == (352 if kind == "Nifti1Image" else 544) + LABELS.size * np.dtype(dtype).itemsize
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=rf"{len(content) - 1} bytes, and its header promises {len(content)}"):
        require_whole(file)


def test_memory_stays_small_whatever_is_unpacked(tmp_path):
    import tracemalloc

    image = sitk.Image([512, 512, 256], sitk.sitkUInt8)
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"), True)
    tracemalloc.start()
    require_whole(tmp_path / "a.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 8e6 < 512 * 512 * 256
    tracemalloc.stop()


def test_an_empty_file_is_not_whole_and_a_text_file_is(tmp_path):
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(ValueError, match="it is empty"):
        require_whole(tmp_path / "empty.nii.gz")
    (tmp_path / "notes.txt").write_text("anything")
    require_whole(tmp_path / "notes.txt")


def test_files_of_a_folder_are_those_that_a_user_put_there(tmp_path):
    for name in ("b.nii.gz", "a.nii.gz", "._a.nii.gz", ".b.123.part.nii.gz", "a.json"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii.gz").mkdir()
    assert [file.name for file in files_of(tmp_path, ".nii.gz")] == ["a.nii.gz", "b.nii.gz"]
    with pytest.raises(ValueError, match="does not exist"):
        files_of(tmp_path / "none", ".nii.gz")
