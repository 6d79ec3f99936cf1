"""Give a generator without grades images for grades, by drawing many and keeping the good ones.

After Cheng and Ye, "Application of Generative Adversarial Networks in augmentation of medical image datasets", where
443 of about 2000 images were chosen by hand; here by realism (Kynkaanniemi et al. 2019, Eq. 3) and graders.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import RECORD_KEY, Item, write_image, write_json, write_manifest
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, Extractor, load_extractor
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge, load_grader, one_grader_warning
from monai_retina_gen.evidence.report.pictures import labelled_rows
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.weights import CHECKPOINT, build_from_bundle, find_bundle, load_state, load_weights, save_state
from monai_retina_gen.zoo.packing import pin

from .candidates import REASONS, CandidatePool, Selection, is_unconditional, network_sha256, score_photographs, select

CURATION_FILE, PLAN, COLUMNS, K = "curation.json", "images.json", 10, 3
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Curation:
    """Outcome of `curate`."""

    folder: Path  # of the kept images, `manifest.json`, `datalist.json` and `curation.json`
    selection: Selection  # which candidates were kept, and why the others were not
    report: dict[str, Any]  # what `curation.json` holds
    latents: list[Tensor]  # per grade (n, latent_dim); empty for a generator that takes grades

    @property
    def kept(self) -> dict[int, int]:
        """Number of images kept of each grade."""
        return {int(grade): counts["kept"] for grade, counts in self.report["grades"].items()}


def curate(
    generator: str | RetinaGenerator,
    items: Sequence[Item],
    out: str | Path,
    *,
    candidates: int = 2000,
    per_grade: int = 100,
    realism: float = 1.0,
    confidence: float = 0.5,
    graders: Sequence[str | GraderJudge] = (DEFAULT_GRADERS,),
    extractor: str | Extractor = DEFAULT_EXTRACTOR,
    store_in: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: str = "cpu",
    progress: bool = True,
) -> Curation:
    """Draw candidates, keep those that are realistic and clearly of a grade, up to a number per grade.

    The order is that of consecutive seeds from `seed` on. `items` are the graded photographs that `realism` is measured
    against, where 1 is the border of their manifold; the averaged probabilities of the `graders` must reach
    `confidence`. A generator that takes grades is filtered by whether the graders confirm them. `store_in` is a bundle
    whose weights get the kept latents, so that it samples by grade; it is pinned anew.

    `out` is then a data set as `expand` writes it, with `curation.json`. Stopped and started again it gives the same
    bytes; other thresholds in the same folder choose anew among what is drawn.

    Raises:
        ValueError: for a value outside its range, too few photographs, or a folder or bundle of another generator.
    """
    for name, value in (("candidates", candidates), ("per_grade", per_grade), ("batch_size", batch_size)):
        check_whole(name, value, least=1)
    if not 0 < confidence <= 1:
        raise ValueError(f"confidence={confidence}: a probability in (0, 1] is wanted")
    if not realism >= 0:
        raise ValueError(f"realism={realism}: a score of at least 0 is wanted; 1 is the border of the manifold")
    if len(items) < K + 1:
        raise ValueError(f"items holds {len(items)} photographs: realism with k = {K} needs at least {K + 1}")
    if not graders:
        raise ValueError("graders is empty: name at least one, such as retina_grader:cross_fitted")
    made_by, folder = load_generator(generator, device=device), Path(out)
    bundle = check_store(store_in, made_by, per_grade) if store_in else None
    judges = [load_grader(grader, device) if isinstance(grader, str) else grader for grader in graders]
    features_of = load_extractor(extractor, device=device)
    pool = CandidatePool(folder / "candidates", made_by, features_of, judges, seed=seed, batch_size=batch_size)
    reference = score_photographs(pool, photographs(items, made_by.image_size), k=K)
    features, probabilities = pool.draw(candidates, progress)
    scores, sureness = reference.realism(features), probabilities.max(dim=1).values
    selection = select(
        scores,
        reference.copies(features),
        probabilities,
        None if is_unconditional(made_by) else [record.grade for record in pool.records()],
        per_grade=per_grade,
        min_realism=realism,
        confidence=confidence,
    )
    classes = range(probabilities.shape[1])
    latents = [pool.latents(selection.rows(grade=grade)) for grade in classes] if is_unconditional(made_by) else []
    stored = store(bundle, latents) if bundle and any(map(len, latents)) else None
    label = f"seen by {' + '.join(judge.name for judge in judges)} with a probability of at least {confidence}"
    write_kept(folder, pool, selection, label=label, stored=stored)
    report = {
        "kind": "curation",
        **statement(pool, stored),
        "data": {"n_photographs": len(items), "photographs_sha256": reference.sha256, "n_candidates": candidates},
        "settings": {"per_grade": per_grade, "k": K, "seed": seed, "batch_size": batch_size},
        "grades": {str(grade): _grade(selection, grade, per_grade) for grade in classes},
        "refused": {reason: len(selection.rows(reason=reason)) for reason in REASONS},
        "seeds": {str(grade): [seed + row for row in selection.rows(grade=grade)] for grade in classes},
        "realism": {**distribution(scores, realism), "photographs": reference.realistic(realism)},
        "confidence": {**distribution(sureness, confidence), "photographs": reference.confident(confidence)},
        "warnings": warnings_of(pool, len(items)),
    }
    report["pictures"] = pictures(folder, pool, selection, report["grades"])
    write_json(report, folder / CURATION_FILE)
    return Curation(folder, selection, report, latents)


def _grade(selection: Selection, grade: int, per_grade: int) -> dict[str, Any]:
    kept = len(selection.rows(grade=grade))
    return {
        "candidates": selection.grades.count(grade),
        "kept": kept,
        "lacking": per_grade - kept,
        "refused": {reason: len(selection.rows(reason=reason, grade=grade)) for reason in REASONS},
    }


def distribution(values: Tensor, threshold: float) -> dict[str, Any]:
    """Share of candidates whose realism or confidence passes, and quantiles of the finite values."""
    finite = values[values.isfinite()].double()
    quantiles = finite.quantile(torch.tensor(QUANTILES, dtype=torch.float64)).tolist() if len(finite) else []
    return {
        "threshold": threshold,
        "share_passing": float((values >= threshold).double().mean()),
        "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=False)),
    }


def statement(pool: CandidatePool, stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who made, scored and labelled: names and hashes. After storing, the weights are the stored ones."""
    generator = pool.generator
    return {
        "generator": {
            **{name: getattr(generator, name) for name in ("name", "version", "image_size")},
            "weights_sha256": stored["sha256"] if stored else generator.weights_sha256,
            "network_sha256": network_sha256(generator.network.state_dict()),
            "conditional": not is_unconditional(generator),
        },
        "extractor": pool.extractor.as_dict(),
        "graders": [grader.as_dict() for grader in pool.graders],
        "stored": dict(stored) if stored else None,
    }


def warnings_of(pool: CandidatePool, photographs: int) -> list[str]:
    """What the reader must know."""
    found = one_grader_warning(pool.graders, "Grades are its opinion.")
    hashes = {grader.as_dict()["sha256"] for grader in pool.graders} - {""}
    if pool.extractor.sha256 in hashes:
        found.append("The extractor that scores realism and a grader are the same network: they err together.")
    if photographs < 50:
        found.append(f"Realism is scored against {photographs} photographs: under 50, no score is reliable.")
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """The outcome in words: one line a grade, one for all refusals, and the warnings."""
    found = [
        f"grade {grade}: kept {n['kept']} of {n['candidates']} candidates"
        + (f": {n['lacking']} too few" * bool(n["lacking"]))
        for grade, n in result["grades"].items()
    ]
    refused = ", ".join(f"{n} {reason}" for reason, n in result["refused"].items() if n)
    found.append(f"refused: {refused or 'none'}")
    for name, words in (("realism", "realistic"), ("confidence", "clearly of a grade")):
        beside = result[name]["photographs"]
        photographs = f", of photographs {beside['share_passing']:.2f} (n = {beside['n']})" if beside else ""
        found.append(f"{words}: {result[name]['share_passing']:.2f} of the candidates{photographs}")
    return [*found, *result["warnings"]]


def pictures(folder: Path, pool: CandidatePool, selection: Selection, grades: Mapping[str, Any]) -> dict[str, str]:
    """Write `kept.png` (one row a grade) and `refused.png` (one row a reason); returns their names."""
    kept = [
        (
            f"grade {g}\n{n['kept']} kept" + f"\n{n['lacking']} too few" * bool(n["lacking"]),
            selection.rows(grade=int(g)),
        )
        for g, n in grades.items()
    ]
    refused = [(f"{reason}\n{len(rows)}", rows) for reason in REASONS if (rows := selection.rows(reason=reason))]
    sheets: dict[str, Sequence[tuple[str, list[int]]]] = {"kept": kept, "refused": refused or [("none refused", [])]}
    for name, rows_by_words in sheets.items():
        shown = [(words, [rows[i] for i in spread(len(rows), COLUMNS)]) for words, rows in rows_by_words]
        sheet = labelled_rows([(words, pool.images(rows).float() / 255) for words, rows in shown], columns=COLUMNS)
        write_image(folder / f"{name}.png", sheet)
    return {name: f"{name}.png" for name in sheets}


def write_kept(
    folder: Path, pool: CandidatePool, selection: Selection, *, label: str, stored: Mapping[str, Any] | None
) -> None:
    """Write what was kept as a data set, as `expand` does, and remove images of an earlier choice.

    `label` says in the records who verified the grades; `stored`, from `store`, which weights make the images again.
    """
    records, entries = pool.records(), []
    for grade in sorted(set(selection.grades)):
        for place, row in enumerate(selection.rows(grade=grade)):
            record = replace(records[row], grade=grade, label=label)
            if stored:  # the bundle makes it again from its table, where the seed is the place
                weights = {"generator": stored["bundle"], "weights_sha256": stored["sha256"]}
                record = replace(record, seed=place, options={"curated": True}, **weights)
            entries.append((f"images/grade{grade}/{records[row].seed:07d}.png", record, row))
    _start(folder, [name for name, _, _ in entries])
    for name, record, row in entries:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = pool.images([row])[0].float() / 255
        write_image(folder / name, image, text={RECORD_KEY: record.to_json()}, xmp=record.to_xmp())
    write_manifest(folder, [(name, record) for name, record, _ in entries])
    datalist = {
        "name": f"curated from {pool.generator.name}",
        "description": "Generated images, not photographs; labels are what graders see in them.",
        "licence": "see the generator's bundle",
        "patients": "unknown",
        "training": [{"image": name, "grade": r.grade, "group": f"generated/{name}"} for name, r, _ in entries],
    }
    write_json(datalist, folder / "datalist.json")


def _start(folder: Path, names: list[str]) -> None:
    """Write down which images will be made, and remove those of an earlier choice: only files written down before."""
    path = folder / PLAN
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    # both, until the old ones are gone: killed in between, nothing is left behind that no list knows
    write_json(sorted({*before, *names}), path)
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)
    write_json(sorted(names), path)


def check_store(bundle: str | Path, generator: RetinaGenerator, per_grade: int) -> Path:
    """Folder of a bundle that can take the curation of `generator`: of the same network, with places enough."""
    folder = find_bundle(bundle)
    check_writable(folder / "configs")
    if not is_unconditional(generator):
        raise ValueError(f"--store {bundle}: {generator.name!r} takes grades and has no table of latents; leave it out")
    state = load_state(folder / CHECKPOINT)
    if network_sha256(state) != network_sha256(generator.network.state_dict()):
        raise ValueError(
            f"--store {bundle}: its weights are not those of generator {generator.name!r}, which was given"
        )
    places = state["curated_latents"].shape[1]
    if per_grade > places:
        raise ValueError(f"--store {bundle}: per_grade is {per_grade}, but its table has {places} places for a grade")
    return folder


def store(folder: Path, latents: Sequence[Tensor]) -> dict[str, Any]:
    """Write latents `(n, latent_dim)`, a tensor a grade, into a bundle's weights; returns its name and the new pin."""
    network: Any = build_from_bundle(folder, "network_def")
    load_weights(network, folder / CHECKPOINT)
    network.set_curated(latents)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.pt"
        save_state(network.state_dict(), file, half=True)
        (found,) = pin(folder, file).values()
    return {"bundle": folder.name, **found}
