"""The reference's side of `bench train-loader`: one epoch of salesforce/BLIP's training set through its own DataLoader.

python reference_loader.py CHECKOUT VOCAB FOLDER SIZE BATCH WORKERS      one JSON object on stdout

FOLDER holds images and annotations in COCO's layout. The answer is {"ok": true, "seconds", "cpu_seconds", "images",
"versions"}, where cpu_seconds are those of this process and its workers together, or {"ok": false, "error": sentence}.
"""
import importlib.util
import json
import os
import resource
import sys
import time

ANSWER = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else writes to stdout must not mix with the answer

import reference_shims  # noqa: E402
from reference_shims import Unusable  # noqa: E402


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def epoch(checkout, vocab, folder, size, batch, workers):
    if importlib.util.find_spec("cv2") is None:
        raise Unusable(f"{sys.executable} lacks OpenCV, which the reference augments with; "
                       f"run: {sys.executable} -m pip install opencv-python-headless")
    reference_shims.install(checkout, vocab)
    import cv2
    import PIL
    import torch
    from data import create_dataset, create_loader
    train = create_dataset("retrieval_coco", {"image_root": folder, "ann_root": folder, "image_size": size})[0]
    [loader] = create_loader([train], [None], [batch], [workers], [True], [None])
    start, cpu, images = time.perf_counter(), cpu_seconds(), 0
    for pixels, _captions, _indices in loader:  # at its end the workers have been joined, so that their time counts
        images += len(pixels)
    versions = {"torch": torch.__version__, "Pillow": PIL.__version__, "OpenCV": cv2.__version__}
    return {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu, "images": images,
            "versions": versions}


def main(checkout, vocab, folder, *numbers):
    try:
        return {"ok": True, **epoch(os.path.abspath(checkout), os.path.abspath(vocab), folder, *map(int, numbers))}
    except Unusable as error:
        return {"ok": False, "error": str(error)}


if __name__ == "__main__":
    ANSWER.write(json.dumps(main(*sys.argv[1:])) + "\n")
    ANSWER.close()
