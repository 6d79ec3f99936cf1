"""Names for what is made of photographs."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from monai_retina_gen.data import photograph_names

FOLDERS = st.sampled_from(["/eyes", "/eyes/a", "/eyes/b", "/eyes/a.b", "/eyes/1.2.840"])
FILES = st.sampled_from(["1", "1.png", "1.jpg", "1_png.png", "1_png", "1.nii.gz", "1.a.png", "1.b.png", "1_a_png"])


@given(st.lists(st.builds(os.path.join, FOLDERS, FILES), max_size=12))
def test_every_photograph_has_a_name_of_its_own(paths: list[str]) -> None:
    names = photograph_names(paths)
    assert set(names) == set(paths)
    assert len(set(names.values())) == len(names)
    assert not any(os.path.isabs(name) or ".." in name.split("/") for name in names.values())


def test_folders_and_suffixes_keep_names_apart() -> None:
    names = photograph_names(["/d/a/1.png", "/d/b/1.png", "/d/b/1.jpg", "/d/b/2.nii.gz"])
    assert names == {"/d/a/1.png": "a/1", "/d/b/1.png": "b/1_png", "/d/b/1.jpg": "b/1_jpg", "/d/b/2.nii.gz": "b/2"}
    assert photograph_names([]) == {}
