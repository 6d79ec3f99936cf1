"""Items that become canvases: healthy eyes of their own section, whole, painted to a grade, or refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from painting_parts import painting_generator
from torch import Tensor

from monai_retina_gen.data import ICDR_GRADE, LesionBank, load_datalist, save_datalist, write_phantoms
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.transforms import BatchGenerativeAugment, CropToFieldOfViewd, GenerativeAugmentd, LoadFundusd
from monai_retina_gen.transforms.augment.canvases import Canvases

SIDE = 128
STRUCTURES, LESIONS = ("vessel", "od", "fov"), ("ma", "he", "ex", "se")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 phantoms with masks, each with a label `dme` and a patient of its own."""
    made = tmp_path_factory.mktemp("eyes")
    write_phantoms(made, count=20, size=SIDE, seed=8, splits=(0.5, 0.3, 0.2), grades=(0, 2, 3))
    datalist = load_datalist(made / "datalist.json")
    for section in ("training", "validation", "test"):
        for i, item in enumerate(datalist[section]):
            item |= {"dme": i % 3, "group": f"{section} {i}"}
    save_datalist(datalist, made / "datalist.json")
    return made


def loaded(item: dict[str, Any], keys: tuple[str, ...] = ()) -> dict[str, Any]:
    load = LoadFundusd(keys="image", mask_keys=keys)
    crop = CropToFieldOfViewd(keys="image", mask_keys=keys, size=SIDE)
    return dict(crop(load({key: item[key] for key in ("image", "grade", "group", "dme", *keys)})))


def augment(bank: LesionBank, canvas: Any, **options: Any) -> GenerativeAugmentd:
    settings = {"mode": "synthesize", "prob": 1.0, "canvas": canvas, "generator": painting_generator(bank), **options}
    return GenerativeAugmentd(keys="image", **settings).set_random_state(4)


def test_an_item_becomes_another_eye_whole(folder: Path, phantom_bank: LesionBank) -> None:
    datalist = load_datalist(folder / "datalist.json")
    healthy = {item["image"]: item for item in datalist["training"] if item["grade"] == 0}
    item = next(item for item in datalist["training"] if item["grade"] == 2)
    keys = (*STRUCTURES, *LESIONS)
    transform = augment(phantom_bank, str(folder / "datalist.json"), mask_keys=keys)
    drawn = set()
    for _ in range(12):
        made = transform(loaded(item, keys))
        if made["image_refused"]:
            assert made["group"] == item["group"]
            continue
        record = json.loads(made["image_generated"])
        canvas = healthy[record["source"]]
        assert (made["group"], made["dme"], made["grade"]) == (canvas["group"], canvas["dme"], 2)
        assert made["image"].meta["filename_or_obj"] == canvas["image"]
        eye = loaded(canvas, STRUCTURES)
        assert all(torch.equal(made[name].as_tensor(), eye[name].as_tensor()) for name in STRUCTURES)
        new = torch.cat([made[name].as_tensor() for name in LESIONS]).amax(0)
        changed = (made["image"].as_tensor() != eye["image"].as_tensor()).any(0)
        assert bool(changed[new >= 0.4].all())
        assert bool((new >= 0.4).any())
        assert "compositeWith" in GenerationRecord(**record).to_xmp()
        drawn.add(record["source"])
    assert len(drawn) > 1


@pytest.mark.parametrize("section", ["training", "validation"])
def test_canvases_are_of_the_items_own_section(folder: Path, phantom_bank: LesionBank, section: str) -> None:
    datalist = load_datalist(folder / "datalist.json")
    own = {item["image"] for item in datalist[section]}
    canvases = Canvases(str(folder / "datalist.json"))
    for item in datalist[section]:
        for known in ({"group": item["group"]}, {"path": item["image"]}):
            eyes = [canvases.draw(seed, SIDE, **known) for seed in range(20)]
            assert {eye.item["image"] for eye in eyes} <= own
            assert {eye.item["grade"] for eye in eyes} == {0}
    alone = Canvases(
        {"training": datalist["training"], "validation": [i for i in datalist["validation"] if i["grade"]]}
    )
    with pytest.raises(DatalistError, match="no healthy photograph \\(grade 0\\) under 'validation'"):
        alone.draw(1, SIDE, group="validation 1")


def test_what_the_canvas_cannot_say_is_refused_by_name(folder: Path, phantom_bank: LesionBank) -> None:
    item = next(i for i in load_datalist(folder / "datalist.json")["training"] if i["grade"] == 2)
    transform = augment(phantom_bank, str(folder / "datalist.json"))
    refused = transform({**loaded(item), "age": 61})
    assert "it has no 'age'" in refused["image_refused"]
    assert (refused["age"], refused["group"]) == (61, item["group"])
    other = transform({**loaded(item), "grade": 0})
    assert "grade 0 is not painted on canvases" in other["image_refused"]


def test_wrong_canvases_are_told(folder: Path, phantom_bank: LesionBank) -> None:
    datalist = load_datalist(folder / "datalist.json")
    with pytest.raises(DatalistError, match="not known to be healthy"):
        Canvases(datalist["training"]).draw(1, SIDE)
    ungraded = [{k: v for k, v in item.items() if k != "grade"} for item in datalist["training"] if item["grade"] == 0]
    with pytest.raises(DatalistError, match="under 'grade'"):
        Canvases(ungraded).draw(1, SIDE)
    with pytest.raises(ValueError, match=r"list of items \(dictionaries\), not \['a.jpg'\]"):
        Canvases(["a.jpg"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="canvas_grades"):
        Canvases(datalist["training"], grades=(0, 2))
    with pytest.warns(UserWarning, match="severe 3"):
        Canvases(datalist["training"], grades=(4,))
    healthy = Canvases([item for item in datalist["training"] if item["grade"] == 0])
    again = pickle.loads(pickle.dumps(healthy))
    assert torch.equal(again.draw(3, SIDE).image, healthy.draw(3, SIDE).image)


class OnlySeen:
    """Notes which groups it is asked about, and refuses the first tries."""

    def __init__(self, refusals: int) -> None:
        self.left, self.groups = refusals, list[Any]()

    def check(self, images: Tensor, grades: Any, originals: Tensor | None = None, groups: Any = None) -> GateVerdict:
        assert originals is None  # a healthy eye that is one of grade 2 now is judged as an image of grade 2
        self.groups += list(groups)
        self.left -= 1
        return GateVerdict(["no" if self.left >= 0 else ""] * len(images), "OnlySeen", [{}] * len(images))


def test_the_gate_judges_by_the_canvas_group(folder: Path, phantom_bank: LesionBank) -> None:
    datalist = load_datalist(folder / "datalist.json")
    groups = {item["group"] for item in datalist["training"] if item["grade"] == 0}
    item = next(i for i in datalist["training"] if i["grade"] == 2)
    gate = OnlySeen(1)
    made = augment(phantom_bank, str(folder / "datalist.json"), gate=gate, max_retries=6)(loaded(item))
    assert len(gate.groups) == 2
    assert set(gate.groups) <= groups
    assert json.loads(made["image_generated"])["label"] == "verified by OnlySeen"
    assert made["group"] == gate.groups[-1]


def test_rows_of_a_batch_become_canvases(folder: Path, phantom_bank: LesionBank) -> None:
    datalist = load_datalist(folder / "datalist.json")
    healthy = {item["image"]: item for item in datalist["training"] if item["grade"] == 0}
    items = [i for i in datalist["training"] if i["grade"] == 2][:2]
    images = torch.stack([loaded(item)["image"].as_tensor() for item in items])
    batch = {
        "image": images,
        "grade": torch.tensor([1, 1]),
        ICDR_GRADE: torch.tensor([2, 2]),
        "dme": torch.tensor([item["dme"] for item in items]),
        "group": [item["group"] for item in items],
    }
    options: dict[str, Any] = {"canvas": str(folder / "datalist.json"), "label_grades": {0: 0, 1: {2: 3, 3: 1}}}
    form = BatchGenerativeAugment(
        generator=painting_generator(phantom_bank), mode="synthesize", prob=1.0, image_order="CHW", **options
    )
    made = form.set_random_state(2)(batch)
    assert batch["group"] == [item["group"] for item in items]  # what came in is not written to
    for row in range(2):
        if made["image_refused"][row]:
            assert made["group"][row] == batch["group"][row]
            continue
        record = json.loads(made["image_generated"][row])
        canvas = healthy[record["source"]]
        assert (made["group"][row], int(made["dme"][row])) == (canvas["group"], canvas["dme"])
        assert (int(made["grade"][row]), int(made[ICDR_GRADE][row])) == (1, record["grade"])
    assert any(made["image_generated"])
