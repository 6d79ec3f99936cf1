"""One reading of grades: every written form of a whole number, and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_retina_gen.data import grade_of, grades_of

FORMS = (
    int,
    float,
    str,
    lambda g: f" {g}",
    lambda g: f"{g}.0\n",
    np.int8,
    np.float16,
    np.str_,
    lambda g: np.array([g]),
    lambda g: np.array([[str(g)]]),
    lambda g: torch.tensor(g),
    lambda g: torch.tensor([float(g)]),
    lambda g: MetaTensor(torch.tensor([[g]])),
)


@given(st.integers(0, 9), st.sampled_from(FORMS))
@settings(max_examples=60, deadline=None)
def test_every_form_of_a_whole_number_is_read(grade, form):
    found = grade_of(form(grade))
    assert found == grade
    assert type(found) is int


@given(
    st.one_of(
        st.floats(width=16).filter(lambda x: not (x.is_integer() and x >= 0)), st.integers(-99, -1), st.booleans()
    )
)
@settings(max_examples=60, deadline=None)
def test_numbers_that_are_no_grade_are_refused_in_every_form(number):
    for value in (number, np.asarray(number), torch.tensor(number), str(number)):
        with pytest.raises(ValueError, match=r"^level: .* came"):
            grade_of(value, "level")


@given(st.text(max_size=6).filter(lambda text: not re.fullmatch(r"\s*[0-9]+(\.0*)?\s*", text, re.ASCII)))
@settings(max_examples=60, deadline=None)
def test_other_text_is_refused(text):
    if text.strip() != text and re.fullmatch(r"[0-9]+(\.0*)?", text.strip(), re.ASCII):
        return  # spaces beyond ASCII
    with pytest.raises(ValueError, match="a whole number from 0 is wanted"):
        grade_of(text)


@given(st.integers(2, 6), st.data())
@settings(max_examples=30, deadline=None)
def test_one_hot_is_named(classes, data):
    row = np.eye(classes)[data.draw(st.integers(0, classes - 1))]
    for value in (row, row.tolist(), torch.tensor(row), torch.tensor(row, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"one-hot.*argmax"):
            grade_of(value)
    with pytest.raises(ValueError, match=r"one-hot.*argmax"):
        grades_of(torch.tensor(row)[None].repeat(3, 1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "0 or 1 for a binary label"),
        (None, "leave out items without a grade"),
        ("", "leave out items without a grade"),
        (float("nan"), "leave out items without a grade"),
        ([3], "one whole number"),
        (torch.tensor([]), "one whole number"),
        ({"grade": 3}, "a whole number"),
    ],
)
def test_messages_say_what_is_wanted(value, message):
    with pytest.raises(ValueError, match=message):
        grade_of(value)


@given(st.lists(st.integers(0, 4), max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_batch_is_read_like_its_items(grades):
    column = torch.tensor(grades, dtype=torch.float64)
    for batch in (grades, column, column[:, None], column.numpy(), [str(grade) for grade in grades]):
        assert grades_of(batch) == grades


@pytest.mark.parametrize("value", [3, "33", torch.tensor(3), None])
def test_a_batch_is_a_sequence(value):
    with pytest.raises(ValueError, match="a grade for each image"):
        grades_of(value, "grades")
