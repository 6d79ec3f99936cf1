"""Atomic files: whole or none, and what killed runs leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_retina_gen.data.files import atomic_path, remove_unfinished, write_atomically


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomically(target, "old")
    with pytest.raises(FileNotFoundError), atomic_path(target):  # the writer has made no file
        pass
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\ud800")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "b.bin") as part:
        part.write_bytes(b"\x00\xff")
        assert not (tmp_path / "b.bin").exists()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_atomically(tmp_path / "c.txt", "é\n")
    assert (tmp_path / "c.txt").read_bytes() == b"\xc3\xa9\n"


def test_half_written_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    left, kept = tmp_path / "deep" / ".a.png.0f.part", tmp_path / "deep" / "song.part"
    for path in (left, kept):
        path.touch()
    remove_unfinished(tmp_path)
    assert not left.exists()
    assert kept.exists()
