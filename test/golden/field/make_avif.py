"""Draws the AVIF files of avif/ and writes what Pillow makes of them to avif.json.

Run with Python 3, Pillow 13.0.0 and imagecodecs 2026.3.6 (which writes 10 and 12 bits; Pillow writes 8):
`python make_avif.py`. "refused" are those that Pillow refuses, too.
"""

import hashlib
import io
import json
import os
import struct

import imagecodecs
import numpy as np
import PIL
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "avif")
random = np.random.default_rng(11)
files = {}


def drawn(width, height, channels=3):
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 7 + y * 3, x * y, 255 - x * 5, x * 9 + y], -1)[..., :channels] % 256
    image[height // 4 : height // 2, width // 4 : width // 2, :3] = [255, 0, 0]
    image[height // 2 : 3 * height // 4, width // 2 :, :3] = [0, 0, 255]
    return image.astype(np.uint8)


def saved(image, **options):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "AVIF", **{"quality": 70, **options})
    return out.getvalue()


def with_colours(data, primaries, matrix):
    at = data.index(b"nclx")
    numbers = struct.pack(">H", primaries) + data[at + 6 : at + 8] + struct.pack(">H", matrix)
    return data[: at + 4] + numbers + data[at + 10 :]


# ---- as Pillow writes them

for subsampling in ["4:2:0", "4:2:2", "4:4:4", "4:0:0"]:
    name = subsampling.replace(":", "")
    for range_ in ["full", "limited"]:
        files[f"{name}_{range_}"] = saved(drawn(37, 23), subsampling=subsampling, range=range_)
    files[f"{name}_even"] = saved(drawn(32, 18), subsampling=subsampling)
    files[f"{name}_alpha"] = saved(drawn(37, 23, 4), subsampling=subsampling)
    files[f"{name}_alpha_limited"] = saved(drawn(37, 23, 4), subsampling=subsampling, range="limited")
    files[f"{name}_premultiplied"] = saved(drawn(37, 23, 4), subsampling=subsampling, alpha_premultiplied=True)
every_alpha = drawn(64, 64, 4)
every_alpha[..., 3] = np.repeat(np.arange(256), 16).reshape(64, 64)
files["444_premultiplied_every_alpha"] = saved(every_alpha, subsampling="4:4:4", quality=50, alpha_premultiplied=True)
files["420_one_pixel"] = saved(drawn(1, 1))
files["420_one_column"] = saved(drawn(1, 7))
files["420_two_rows"] = saved(drawn(9, 2))
files["420_best"] = saved(drawn(37, 23), quality=100)
for orientation in range(2, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    files[f"420_orientation_{orientation}"] = saved(drawn(37, 23), exif=exif.tobytes())
out = io.BytesIO()
frames = [Image.fromarray(drawn(37 + i, 23)).crop((i, 0, 37 + i, 23)) for i in range(3)]
frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:])
files["420_sequence"] = out.getvalue()

# ---- colours meant otherwise: the same samples, another word in the header

plain = {chroma: saved(drawn(37, 23), subsampling=chroma, range=range_) for chroma, range_ in
         [("4:2:0", "limited"), ("4:2:2", "full"), ("4:4:4", "full")]}
for primaries, matrix in [(1, 1), (9, 9), (2, 2), (5, 5), (1, 12), (9, 12), (2, 12)]:
    files[f"420_limited_{primaries}_{matrix}"] = with_colours(plain["4:2:0"], primaries, matrix)
    files[f"422_full_{primaries}_{matrix}"] = with_colours(plain["4:2:2"], primaries, matrix)
files["444_identity"] = with_colours(plain["4:4:4"], 1, 0)
files["444_identity_limited"] = with_colours(saved(drawn(37, 23), subsampling="4:4:4", range="limited"), 1, 0)
files["refused_420_identity"] = with_colours(plain["4:2:0"], 1, 0)
files["400_identity_alpha"] = with_colours(saved(drawn(37, 23, 4), subsampling="4:0:0"), 1, 0)
for chroma, data in plain.items():
    # Without the box, the stream's own header counts.
    files[f"{chroma.replace(':', '')}_without_colours"] = data.replace(b"colrnclx", b"freenclx")

# ---- more bits

for bits in [10, 12]:
    for chroma in ["400", "420", "422", "444"]:
        for channels in [3, 4]:
            image = drawn(37, 23, channels).astype(np.uint16) << (bits - 8)
            image += random.integers(0, 1 << (bits - 8), image.shape).astype(np.uint16)
            if chroma == "400":
                image = image[..., [0, 3] if channels == 4 else [0]]
            name = f"{chroma}_{bits}_bits" + ("_alpha" if channels == 4 else "")
            files[name] = imagecodecs.avif_encode(image, level=70, bitspersample=bits, pixelformat=chroma)
    lossless = np.repeat(drawn(37, 23).astype(np.uint16) << (bits - 8), 1, 2)
    files[f"444_{bits}_bits_identity"] = with_colours(
        imagecodecs.avif_encode(lossless, level=100, bitspersample=bits, pixelformat="444"), 1, 0)

# ---- a grid of tiles


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def found(data, kind):
    at = data.index(kind) - 4
    return data[at : at + struct.unpack(">I", data[at : at + 4])[0]]


def grid(columns, rows, width, height, side=64, **options):
    whole = drawn(side * columns, side * rows)
    parts = [saved(whole[y : y + side, x : x + side], **options)
             for y in range(0, rows * side, side) for x in range(0, columns * side, side)]
    tiles = [found(part, b"mdat")[8:] for part in parts]
    size = box(b"ispe", struct.pack(">III", 0, width, height))
    of_tiles = [found(parts[0], kind) for kind in [b"ispe", b"pixi", b"av1C", b"colr"]]
    count = len(tiles)
    numbers = range(2, count + 2)
    description = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, width, height)

    def meta(at):
        places = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(description))
        for number, tile in zip(numbers, tiles):
            places += struct.pack(">HHHHII", number, 0, 0, 1, at, len(tile))
            at += len(tile)
        entry = lambda number, kind: box(b"infe", struct.pack(">IHH", 2 << 24, number, 0), kind, b"\0")
        properties = struct.pack(">HB3B", 1, 3, 1, 3, 5)
        for number in numbers:
            properties += struct.pack(">HB4B", number, 4, 2, 3, 0x84, 5)
        return box(
            b"meta", bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IHH", 1 << 24, 0x4400, count + 1), places),
            box(b"iinf", struct.pack(">IH", 0, count + 1), entry(1, b"grid"), *[entry(n, b"av01") for n in numbers]),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(">HH", 1, count), struct.pack(f">{count}H", *numbers))),
            box(b"iprp", box(b"ipco", size, *of_tiles), box(b"ipma", struct.pack(">II", 0, count + 1), properties)),
            box(b"idat", description))

    head = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *tiles)


files["420_grid"] = grid(3, 2, 190, 100, quality=30)
files["422_grid_limited"] = grid(1, 2, 64, 128, quality=30, subsampling="4:2:2", range="limited")
files["refused_grid_small_tiles"] = grid(2, 2, 60, 60, side=32, quality=30)
files["refused_grid_tile_outside"] = grid(2, 1, 64, 64, quality=30)

# ---- cut off

files["refused_cut"] = files["420_full"][:-20]
files["refused_cut_in_header"] = files["420_full"][:150]


def expected(data):
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception as error:  # whatever Pillow says
        return {"refused": f"{type(error).__name__}: {error}"[:60].split("<_io")[0]}
    return {"size": list(image.size), "sha256": hashlib.sha256(image.tobytes()).hexdigest()}


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for name, data in files.items():
        with open(os.path.join(FOLDER, f"{name}.avif"), "wb") as out:
            out.write(data)
    results = {name: expected(data) for name, data in files.items()}
    with open(os.path.join(HERE, "avif.json"), "w") as out:
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(result)}" for name, result in results.items())
        out.write(f'{{\n "pillow": "{PIL.__version__}",\n "images": {{\n{lines}\n }}\n}}\n')
    for name, result in results.items():
        if ("refused" in result) != name.startswith("refused"):
            print("not as named:", name, result)
