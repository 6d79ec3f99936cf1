"""A blinded page on which a clinician says real or generated, and the scoring of the answers.

Scored as in Zhao et al. 2023, Table 1 (accuracy, precision, recall, F1 of readers) and in Zhou et al. 2020 (DR-GAN),
Table I (mean realism of real and of generated images).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from monai_retina_gen.data.raster_io import encode_png
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet

__all__ = ["reader_study"]

PAGE, KEY, SCORE = "reader_study.html", "key.csv", "score.json"


def reader_study(real: ImageSet, generated: ImageSet, *, out: str | Path, seed: int = 0) -> Path:
    """Write the blinded page and its key.

    Every image is shown at the same size and encoded in the same way, without names or metadata; the page holds no
    answer.

    Args:
        real: photographs.
        generated: generated images of the same size.
        out: folder for `reader_study.html`, for the reader, and `key.csv`, which the reader must not have.
        seed: of the order.

    Returns:
        Path of the page.

    Raises:
        DatalistError: for sets without images or of different sizes.
    """
    if not len(real) or not len(generated) or real.size != generated.size:
        raise DatalistError(
            f"{len(real)} photographs of {real.size} and {len(generated)} generated images of {generated.size} pixels "
            "came; some of each, of one size, are wanted: size would give the class away"
        )
    entries = [(s, i) for s in (real, generated) for i in range(len(s))]
    order = np.random.default_rng(seed).permutation(len(entries))
    shuffled = [entries[i] for i in order]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "class", "grade", "name"])
    for number, (images, i) in enumerate(shuffled, 1):
        writer.writerow([number, "real" if images is real else "generated", images.grades[i], images.names[i]])
    (folder / KEY).write_text(table.getvalue(), encoding="utf-8")
    (folder / PAGE).write_text(_reader_page([images.images[i] for images, i in shuffled]), encoding="utf-8")
    return folder / PAGE


def _reader_page(images: Sequence[Tensor]) -> str:
    """One HTML file with its images, for keyboard and touch, without a network; image i is called i, from 1."""
    pngs = [encode_png(image.permute(1, 2, 0).contiguous().numpy(), text={}, xmp=None) for image in images]
    uris = ["data:image/png;base64," + base64.b64encode(png).decode() for png in pngs]
    # answers kept by the browser belong to this very set of images
    study = hashlib.sha256("".join(uris).encode()).hexdigest()[:16]
    return _PAGE.replace("__STUDY__", json.dumps(study)).replace("__IMAGES__", json.dumps(uris))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reader study</title><style>
:root{color-scheme:light dark;--b:#8886;--a:#2563eb}
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem}
img{display:block;width:min(100%,60vh);aspect-ratio:1;object-fit:contain;margin:0 auto;background:#000}
fieldset{border:1px solid var(--b);border-radius:.5rem;margin:.75rem 0;display:flex;gap:.5rem;flex-wrap:wrap}
button{font:inherit;padding:.5rem .9rem;border:1px solid var(--b);border-radius:.5rem;background:transparent;flex:1;
  color:inherit}
button[aria-pressed=true]{background:var(--a);color:#fff}button:disabled{opacity:.4}
progress{width:100%}nav{display:flex;gap:.5rem;flex-wrap:wrap}
kbd{border:1px solid var(--b);border-radius:.2rem;padding:0 .25rem}
small{opacity:.8}
</style></head><body>
<h1>Real or generated?</h1>
<p id="count" role="status"></p><progress id="bar" value="0"></progress>
<img id="image" alt="Retinal image to judge">
<fieldset id="answer"><legend>This image is</legend>
<button data-v="real">real <kbd>R</kbd></button><button data-v="generated">generated <kbd>G</kbd></button></fieldset>
<fieldset id="realism"><legend>How realistic is it? 1 not at all, 5 entirely</legend>
<button data-v="1">1</button><button data-v="2">2</button><button data-v="3">3</button>
<button data-v="4">4</button><button data-v="5">5</button></fieldset>
<nav><button id="back">&larr; back</button><button id="next">next &rarr;</button>
<button id="export">save answers (CSV)</button></nav>
<p><small>Keys: <kbd>R</kbd> <kbd>G</kbd>, <kbd>1</kbd> to <kbd>5</kbd>, <kbd>&larr;</kbd> <kbd>&rarr;</kbd>.
Answers stay in this browser until they are saved; nothing is sent anywhere.</small></p>
<script>
"use strict";
const study = __STUDY__, images = __IMAGES__, store = "reader-study-" + study;
const $ = id => document.getElementById(id);
let saved = {};
try { saved = JSON.parse(localStorage.getItem(store)) || {}; } catch (e) { saved = {}; }
let at = Math.max(0, images.findIndex((_, i) => !done(i + 1)));
function done(id) { const a = saved[id]; return Boolean(a && a.answer && a.realism); }
function keep() { try { localStorage.setItem(store, JSON.stringify(saved)); } catch (e) { /* private window */ } }
function show() {
  const finished = images.filter((_, i) => done(i + 1)).length, now = saved[at + 1] || {};
  $("image").src = images[at];
  $("count").textContent = `Image ${at + 1} of ${images.length}; ${finished} answered`;
  $("bar").max = images.length; $("bar").value = finished;
  for (const name of ["answer", "realism"])
    for (const b of $(name).querySelectorAll("button")) b.setAttribute("aria-pressed", b.dataset.v === now[name]);
  $("back").disabled = at === 0; $("next").disabled = at === images.length - 1;
  $("export").disabled = finished < images.length;
}
function set(name, value) { saved[at + 1] = {...saved[at + 1], [name]: value}; keep(); show(); }
function go(step) { at = Math.min(images.length - 1, Math.max(0, at + step)); show(); }
function save() {
  const rows = images.map((_, i) => [i + 1, saved[i + 1].answer, saved[i + 1].realism].join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([["id,answer,realism", ...rows].join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "answers.csv"; link.click();
}
for (const name of ["answer", "realism"])
  $(name).addEventListener("click", e => { const b = e.target.closest("button"); if (b) set(name, b.dataset.v); });
$("back").onclick = () => go(-1); $("next").onclick = () => go(1); $("export").onclick = save;
addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const key = e.key.toLowerCase();
  if (key === "r") set("answer", "real"); else if (key === "g") set("answer", "generated");
  else if ("12345".includes(key) && key.length === 1) set("realism", key);
  else if (key === "arrowleft") go(-1); else if (key === "arrowright") go(1);
});
show();
</script></body></html>
"""
