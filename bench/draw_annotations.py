"""Draws training annotations of COCO's size: 566,747 rows of 113,287 images, 93 MB, in the published file's form.

Usage: python bench/draw_annotations.py FILE [ROWS]
"""
import json
import random
import sys

IMAGES_OF_ROWS = 113287 / 566747
MEAN_WORDS = 10.5
SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu".split()


def words(rng, count):
    """A Zipf-like vocabulary of `count` words, four letters on average as in captions."""
    drawn = sorted({"".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3)))) for _ in range(count)})
    rng.shuffle(drawn)
    return drawn, [1 / (rank + 3) for rank in range(len(drawn))]


def main(path, rows=566747):
    rng = random.Random(42)
    vocabulary, weights = words(rng, 30000)
    images = max(1, round(rows * IMAGES_OF_ROWS))
    numbers = rng.sample(range(1, 582000), images)
    order = [i % images for i in range(rows)]
    order.sort()
    out = []
    for row, image in enumerate(order):
        number = numbers[image]
        length = max(8, min(49, round(rng.gauss(MEAN_WORDS, 2.2))))
        caption = " ".join(rng.choices(vocabulary, weights, k=length)).capitalize() + "."
        folder = "train2014" if image % 3 else "val2014"
        out.append(
            {
                "caption": caption,
                "image": f"{folder}/COCO_{folder}_{number:012d}.jpg",
                "image_id": f"coco_{number}",
            }
        )
    with open(path, "w") as file:
        json.dump(out, file)


main(sys.argv[1], *map(int, sys.argv[2:]))
