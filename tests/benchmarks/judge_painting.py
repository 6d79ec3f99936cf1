"""Painters judged by what taught them nothing: can painted lesions be told from real ones?

Run: python tests/benchmarks/judge_painting.py --datalist masks/datalist.json
The datalist is what `segment --keep-annotated --follow-grades` wrote; its validation photographs are used, no others.

(a) Crops of 64 px at 512 px about real lesions (annotated) and about lesions that were painted elsewhere on the same
photographs, the same composed masks for all painters, pieces that do not show included. A logistic regression on
features of EfficientNet-Lite2 as it comes from ImageNet, which is in no loss, tells one from the other; scores are out
of fold, a photograph a fold. AUC 0.5: nothing tells them; the interval is a bootstrap over photographs. `unpainted`
are the same places before: what the judge makes of no lesion at all.
(d) The shipped grader's probability of grade 1 and above on healthy photographs, before and after microaneurysms were
painted on them, and on real photographs of grade 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from monai_retina_gen.data import CONDITION_KEYS, load_datalist
from monai_retina_gen.editing.painting import Painter, paint
from monai_retina_gen.evidence.evaluation.extractor import load_extractor
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge, load_grader
from monai_retina_gen.generators import load_generator
from monai_retina_gen.networks import PAINTED_LESIONS
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd

SIDE, CROP, PER_KIND = 512, 64, 6
PAINTERS = {"HolePainter": "retina_lesion_painter", "RatioPainter": "retina_drgan"}
Eye = tuple[Tensor, dict[str, Tensor]]


def load_eye(item: Mapping[str, Any]) -> Eye:
    """Photograph and masks, `(1, C, 512, 512)`."""
    options: dict[str, Any] = {"keys": "image", "mask_keys": CONDITION_KEYS, "allow_missing_keys": True}
    loaded = Compose([LoadFundusd(**options), CropToFieldOfViewd(size=SIDE, **options)])(dict(item))
    masks = {key: loaded[key].as_tensor()[None] for key in CONDITION_KEYS if key in loaded}
    empty = torch.zeros(1, 1, SIDE, SIDE)
    return loaded["image"].as_tensor()[None], {**dict.fromkeys(PAINTED_LESIONS, empty), **masks}


def painted(painter: Painter, eye: Eye, wanted: Mapping[str, Tensor], grade: int, seed: int) -> Tensor:
    image, own = eye
    return paint(painter, image, own, wanted, seeds=[seed], grades=torch.tensor([grade]), contrast=-1).image


def places(mask: Tensor, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Middles of up to `PER_KIND` pieces whose crop lies in the image."""
    labels, count = ndimage.label(mask[0, 0].numpy() >= 0.5, np.ones((3, 3)))
    middles = np.round(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))).astype(int).reshape(-1, 2)
    fits = middles[((middles >= CROP // 2) & (middles <= SIDE - CROP // 2)).all(1)]
    return [(int(y), int(x)) for y, x in rng.permutation(fits)[:PER_KIND]]


def crops(image: Tensor, where: Sequence[tuple[int, int]]) -> list[Tensor]:
    half = CROP // 2
    return [image[0, :, y - half : y + half, x - half : x + half] for y, x in where]


def told_apart(real: np.ndarray, other: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """AUC out of fold, and its 95 % interval over photographs."""
    features, label = np.concatenate([real, other]), np.repeat([1, 0], [len(real), len(other)])
    both = np.concatenate([groups, groups])
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    score = cross_val_predict(judge, features, label, groups=both, cv=LeaveOneGroupOut(), method="decision_function")
    rng, names, boot = np.random.default_rng(0), np.unique(groups), []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(both == name) for name in rng.choice(names, len(names))])
        boot.append(roc_auc_score(label[rows], score[rows]))
    return roc_auc_score(label, score), *np.quantile(boot, [0.025, 0.975])


def crop_judge(items: Sequence[Mapping[str, Any]], painters: Mapping[str, Painter], composer: Any) -> None:
    """Print (a)."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("real", "unpainted", *painters)}
    groups: list[int] = []
    kinds: list[str] = []
    for number, item in enumerate(items):
        (image, own), rng = (eye := load_eye(item)), np.random.default_rng(number)
        grade = max(2, min(3, int(item.get("grade", 2))))
        anatomy = {key: own[key][0] for key in ("fov", "od")}
        have = {name: own[name][0] for name in PAINTED_LESIONS}
        new = composer.compose(anatomy, grade, seed=number, own=have).masks
        wanted = {name: torch.maximum(own[name], new[name][None]) for name in PAINTED_LESIONS}
        images = {name: painted(painter, eye, wanted, grade, number) for name, painter in painters.items()}
        for name in PAINTED_LESIONS:
            real, made = places(own[name], rng), places(new[name][None], rng)
            count = min(len(real), len(made))
            found["real"] += crops(image, real[:count])
            found["unpainted"] += crops(image, made[:count])
            for painter in painters:
                found[painter] += crops(images[painter], made[:count])
            groups += [number] * count
            kinds += [name] * count
    extractor, group, kind = load_extractor("lite2"), np.array(groups), np.array(kinds)
    features = {name: extract(extractor, each) for name, each in found.items()}
    print(f"(a) {len(items)} photographs, {len(kind)} crops of each sort; {extractor.name}")
    for name in ("unpainted", *painters):
        row = [("all", np.ones(len(kind), bool)), *((k, kind == k) for k in PAINTED_LESIONS)]
        for label, rows in row:
            if len(np.unique(group[rows])) > 2:
                auc, low, high = told_apart(features["real"][rows], features[name][rows], group[rows])
                print(f"    {name}, {label} ({rows.sum()}): AUC {auc:.2f} [{low:.2f}, {high:.2f}]", flush=True)


def extract(extractor: Any, each: Sequence[Tensor]) -> np.ndarray:
    return torch.cat([extractor(torch.stack(list(each[i : i + 16]))) for i in range(0, len(each), 16)]).numpy()


def grade_judge(items: Sequence[Mapping[str, Any]], painters: Mapping[str, Painter], composer: Any, few: int) -> None:
    """Print (d)."""
    grader = load_grader("retina_grader")
    mild = [item for item in items if item.get("grade") == 1]
    healthy = [item for item in items if item.get("grade") == 0 and "od" in item][:few]
    scores: dict[str, list[float]] = {name: [] for name in ("healthy", *painters)}
    for number, item in enumerate(healthy):
        eye = load_eye(item)
        new = composer.compose({key: eye[1][key][0] for key in ("fov", "od")}, 1, seed=number).masks
        wanted = {name: new[name][None] for name in PAINTED_LESIONS}
        scores["healthy"].append(above_healthy(grader, eye[0]))
        for name, painter in painters.items():
            scores[name].append(above_healthy(grader, painted(painter, eye, wanted, 1, number)))
    scores["real grade 1"] = [above_healthy(grader, load_eye(item)[0]) for item in mild]
    print(f"(d) {len(healthy)} healthy photographs, {len(mild)} real ones of grade 1; retina_grader, P(grade above 0)")
    for name in (*painters, "real grade 1"):
        label = np.repeat([1, 0], [len(scores[name]), len(healthy)])
        auc = roc_auc_score(label, scores[name] + scores["healthy"])
        print(f"    {name} against healthy: AUC {auc:.2f}; median {np.median(scores[name]):.2f}", flush=True)
    print(f"    healthy: median {np.median(scores['healthy']):.2f}")


def above_healthy(grader: GraderJudge, image: Tensor) -> float:
    return 1 - float(grader.probabilities(image)[0, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", required=True)
    parser.add_argument("--healthy", type=int, default=12, help="healthy photographs for (d)")
    args = parser.parse_args()
    items = load_datalist(args.datalist)["validation"]
    generators = {name: load_generator(bundle) for name, bundle in PAINTERS.items()}
    painters: dict[str, Any] = {name: generator.painter for name, generator in generators.items()}
    composer = generators["HolePainter"].composer()  # type: ignore[attr-defined]
    crop_judge([item for item in items if "ma" in item and annotated(item)], painters, composer)
    grade_judge(items, painters, composer, args.healthy)


def annotated(item: Mapping[str, Any]) -> bool:
    """IDRiD's annotated masks lie beside the photographs, predicted ones do not."""
    return "soft_masks" in str(item["ma"]) or "masks/ma/seg_" in str(item["ma"])


if __name__ == "__main__":
    main()
