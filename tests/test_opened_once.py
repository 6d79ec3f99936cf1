"""What is shared in a process is known by the state of its files, not by a name."""

from __future__ import annotations

import os
from pathlib import Path

from monai_retina_gen.opened_once import OpenedOnce, file_stamps


def test_a_file_of_equal_size_and_time_that_was_replaced_is_another(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("one")
    before, times = file_stamps([file]), file.stat()
    assert file_stamps([file, other]) == before
    other.write_text("two")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert file_stamps([file]) != before


def test_a_new_state_takes_the_place_of_the_old() -> None:
    opened: OpenedOnce[list[int]] = OpenedOnce()
    numbers = iter(range(9))
    found = [opened.get("bank", state, lambda: [next(numbers)]) for state in ("a", "a", "b", "a")]
    assert found == [[0], [0], [1], [2]]
    assert found[0] is found[1]
    assert opened.get("other", "a", list) == []


def test_one_that_fails_to_open_is_tried_again() -> None:
    opened: OpenedOnce[int] = OpenedOnce()

    def fail() -> int:
        raise OSError("not yet")

    for open_it, expected in ((fail, None), (lambda: 3, 3)):
        try:
            assert opened.get("bank", 0, open_it) == expected
        except OSError:
            assert expected is None
