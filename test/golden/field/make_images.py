"""Draws the small images of this folder and writes what Pillow makes of them to images.json.

Run with Python 3 and Pillow 13.0.0: `python make_images.py`. Each file stands for a kind of which one was once read
otherwise than Pillow reads it, or not at all. "refused" are those that Pillow refuses, too.
"""

import hashlib
import io
import json
import os
import struct
import zlib

import PIL
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "images")
W, H = 37, 23
files = {}


def photo(w=W, h=H):
    """A smooth picture with an edge, the same on every machine."""
    pixels = bytearray()
    for y in range(h):
        for x in range(w):
            pixels += bytes([(x * 7 + y * 3) % 256, (x * x + y * 5) % 256, 255 if (x - 12) ** 2 + (y - 9) ** 2 < 40 else (y * 11) % 256])
    return Image.frombytes("RGB", (w, h), bytes(pixels))


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


# ---- GIF, by hand: sizes, offsets, palettes, transparency, interlace, codes


def lzw(indices, bits):
    """GIF's compression without growing codes: a clear code often enough, then literals."""
    clear, end = 1 << bits, (1 << bits) + 1
    out, buffer, count = bytearray(), 0, 0
    width = bits + 1
    since = 0
    for code in [clear] + list(indices) + [end]:
        if code < clear:
            if since == (1 << bits) - 2:
                buffer |= clear << count
                count += width
                since = 0
            since += 1
        buffer |= code << count
        count += width
        while count >= 8:
            out.append(buffer & 255)
            buffer >>= 8
            count -= 8
    out.append(buffer & 255)
    blocks = b"".join(bytes([len(out[i : i + 255])]) + out[i : i + 255] for i in range(0, len(out), 255))
    return bytes([bits]) + blocks + b"\0"


def palette_of(n, step=37):
    return b"".join(bytes([(i * step) % 256, (i * 91 + 13) % 256, 255 - (i * 53) % 256]) for i in range(n))


def gif(canvas, frame, indices, bits=3, palette=None, local=None, transparent=None, interlaced=False, background=0, disposal=0, extra=b"", tail=b";", code_bits=None):
    head = b"GIF89a" + struct.pack("<HH", *canvas)
    head += bytes([(0x80 | (bits - 1)) if palette else 0, background, 0]) + (palette or b"")
    if transparent is not None or disposal:
        head += b"!\xf9\x04" + bytes([disposal << 2 | (transparent is not None), 0, 0, transparent or 0]) + b"\0"
    flags = (0x80 | (bits - 1) if local else 0) | (0x40 if interlaced else 0)
    return head + extra + b"," + struct.pack("<HHHH", *frame) + bytes([flags]) + (local or b"") + lzw(indices, code_bits or max(2, bits)) + tail


def ramp(n, m=8):
    return [(i * i // 5 + i) % m for i in range(n)]


quantized = photo().quantize(64)
grey8 = b"".join(bytes([i, i, i]) for i in range(8))
files["gif_photo.gif"] = saved(quantized, "GIF")
files["gif_interlaced.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H), palette=palette_of(8), interlaced=True)
files["gif_interlaced_low.gif"] = gif((5, 3), (0, 0, 5, 3), ramp(15), palette=palette_of(8), interlaced=True)
files["gif_transparent.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H), palette=palette_of(8), transparent=3)
files["gif_small_frame.gif"] = gif((W, H), (5, 7, 20, 9), ramp(180), palette=palette_of(8), background=5)
files["gif_small_transparent_frame.gif"] = gif((W, H), (5, 7, 20, 9), ramp(180), palette=palette_of(8), background=5, transparent=2)
files["gif_frame_beyond_canvas.gif"] = gif((20, 10), (5, 7, 20, 9), ramp(180), palette=palette_of(8))
files["gif_local_palette.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H), palette=palette_of(8), local=palette_of(8, 11))
files["gif_local_palette_only.gif"] = gif((W, H), (3, 2, 30, 20), ramp(600), local=palette_of(8, 11), transparent=1)
files["gif_no_palette.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H))
files["gif_grey_ramp_palette.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H), palette=grey8)
files["gif_grey_ramp_local.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H), palette=palette_of(8), local=grey8)
files["gif_index_beyond_palette.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H, 8), bits=2, palette=palette_of(4), code_bits=3)
files["gif_black_white.gif"] = saved(photo().convert("1"), "GIF")
files["gif_disposal.gif"] = gif((W, H), (4, 4, 20, 9), ramp(180), palette=palette_of(8), disposal=2, background=6)
files["gif_comment.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H), palette=palette_of(8), extra=b"!\xfe\x05hello\0!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
files["gif_animation.gif"] = saved(quantized, "GIF", save_all=True, append_images=[photo().rotate(90).quantize(32)], duration=50, disposal=2, transparency=3)
files["gif_without_trailer.gif"] = files["gif_photo.gif"][:-2]
files["refused_gif_cut.gif"] = files["gif_photo.gif"][:-40]
files["refused_gif_short_frame.gif"] = gif((W, H), (0, 0, W, H), ramp(W * H - 30), palette=palette_of(8))
files["refused_gif_header.gif"] = files["gif_photo.gif"][:300][:12]

# ---- PNG, whole and cut

plain = saved(photo(), "PNG")
files["png_la.png"] = saved(photo().convert("LA"), "PNG")
files["png_palette_trns.png"] = saved(quantized, "PNG", transparency=2)
files["png_palette4.png"] = saved(photo().quantize(11), "PNG", bits=4)
files["png_grey16.png"] = saved(Image.frombytes("I;16", (W, H), b"".join(struct.pack("<H", (i * 3) % 600) for i in range(W * H))), "PNG")
files["png_1bit.png"] = saved(photo().convert("1"), "PNG")


def png(w, h, depth, kind, rows, palette=None, interlace=0, tail=b"", level=9):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, interlace))
    if palette:
        out += chunk(b"PLTE", palette)
    return out + chunk(b"IDAT", zlib.compress(rows, level)) + tail + chunk(b"IEND", b"")


def png_rows(w, h, bits, filters=(0,), seed=1):
    state, out = seed, bytearray()
    for y in range(h):
        out.append(filters[y % len(filters)])
        for _ in range((w * bits + 7) // 8):
            state = (state * 1664525 + 1013904223) % 2**32
            out.append(state >> 24)
    return bytes(out)


def adam7(w, h, bits, filters=(0,)):
    out = b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        if w > x0 and h > y0:
            out += png_rows((w - x0 + dx - 1) // dx, (h - y0 + dy - 1) // dy, bits, filters)
    return out


def without(data, end):
    return data[:-end]


filters = (0, 1, 2, 3, 4)
for depth, kind in [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)]:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    palette = palette_of(min(256, 1 << depth)) if kind == 3 else None
    whole = png(13, 9, depth, kind, png_rows(13, 9, depth * channels, filters), palette)
    files[f"png_cut_{depth}_{kind}.png"] = without(whole, 16)
    files[f"png_cut_interlaced_{depth}_{kind}.png"] = without(png(13, 9, depth, kind, adam7(13, 9, depth * channels, filters), palette, interlace=1), 16)
files["png_without_iend.png"] = without(plain, 12)
files["png_cut_in_adler.png"] = without(plain, 18)
files["png_wrong_data_checksum.png"] = plain[:-16] + b"\1\2\3\4" + plain[-12:]
files["png_ends_early.png"] = png(13, 9, 8, 2, png_rows(13, 6, 24, filters))
files["png_garbage_behind.png"] = without(plain, 12) + b"garbage that is no chunk"
files["refused_png_cut_in_rows.png"] = without(plain, 60)
files["refused_png_cut_in_text.png"] = plain[:-12] + struct.pack(">I", 40) + b"tEXtComment\0cut"
files["refused_png_wrong_header_checksum.png"] = plain[:29] + b"\0\0\0\0" + plain[33:]
files["refused_png_ends_in_row.png"] = png(13, 9, 8, 2, png_rows(13, 6, 24, filters)[:-5])
files["refused_png_wrong_adler.png"] = without(plain, 20) + b"\1\2\3\4" + plain[-16:]

# ---- BMP

for mode in ["RGB", "L", "1", "P"]:
    image = quantized if mode == "P" else photo().convert(mode)
    files[f"bmp_{mode}.bmp"] = saved(image, "BMP")


def bmp(bits, rows, width=13, height=9, top_down=False, compression=0, palette=b"", colours=0, masks=b"", size=40, header=b"", offset=None):
    h = 2**32 - height if top_down else height
    info = struct.pack("<IIIHHIIIIII", size, width, h, 1, bits, compression, len(rows), 2835, 2835, colours, 0) + masks + header
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start if offset is None else offset) + info + palette + rows


def bmp_rows(bits, width=13, height=9, seed=5):
    stride = (width * bits + 31) // 32 * 4
    return bytes((i * i * seed // 3 + i) % 256 for i in range(stride * height))


def quads(n):
    return b"".join(palette_of(n)[i * 3 : i * 3 + 3] + b"\0" for i in range(n))


files["bmp_24_top_down.bmp"] = bmp(24, bmp_rows(24), top_down=True)
files["bmp_32.bmp"] = bmp(32, bmp_rows(32))
files["bmp_16_555.bmp"] = bmp(16, bmp_rows(16))
files["bmp_16_565.bmp"] = bmp(16, bmp_rows(16), compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
files["bmp_16_555_masks.bmp"] = bmp(16, bmp_rows(16), compression=3, masks=struct.pack("<III", 0x7C00, 0x3E0, 0x1F))
files["bmp_32_masks.bmp"] = bmp(32, bmp_rows(32), compression=3, masks=struct.pack("<III", 0xFF0000, 0xFF00, 0xFF))
for name, masks in {"xbgr": (0xFF000000, 0xFF0000, 0xFF00, 0), "bgxr": (0xFF000000, 0xFF00, 0xFF, 0), "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF), "rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000), "bgra": (0xFF0000, 0xFF00, 0xFF, 0xFF000000), "bgar": (0xFF000000, 0xFF00, 0xFF, 0xFF0000), "none": (0, 0, 0, 0)}.items():
    files[f"bmp_v4_{name}.bmp"] = bmp(32, bmp_rows(32), compression=3, size=108, masks=struct.pack("<IIII", *masks), header=b"\0" * 52)
files["bmp_1.bmp"] = bmp(1, bmp_rows(1), palette=quads(2))
files["bmp_1_black_white.bmp"] = bmp(1, bmp_rows(1), palette=b"\0\0\0\0\xff\xff\xff\0")
files["bmp_1_white_black.bmp"] = bmp(1, bmp_rows(1), palette=b"\xff\xff\xff\0\0\0\0\0")
files["bmp_4.bmp"] = bmp(4, bmp_rows(4), palette=quads(16))
files["bmp_8_few_colours.bmp"] = bmp(8, bytes(i % 7 for i in range(16 * 9)), palette=quads(7), colours=7)
files["bmp_8_beyond_palette.bmp"] = bmp(8, bmp_rows(8), palette=quads(7), colours=7)
files["bmp_8_top_down.bmp"] = bmp(8, bmp_rows(8), palette=quads(256), top_down=True)
files["bmp_8_grey.bmp"] = bmp(8, bmp_rows(8), palette=b"".join(bytes([i, i, i, 0]) for i in range(256)))
files["bmp_8_offset_at_palette.bmp"] = bmp(8, bmp_rows(8), palette=quads(256), offset=54)
files["bmp_8_offset_zero.bmp"] = bmp(8, bmp_rows(8), palette=quads(256), offset=0)
files["bmp_os2.bmp"] = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26 + 48) + struct.pack("<IHHHH", 12, 13, 9, 1, 4) + palette_of(16) + bmp_rows(4)
files["bmp_os2_24.bmp"] = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + struct.pack("<IHHHH", 12, 13, 9, 1, 24) + bmp_rows(24)
runs8 = b"".join(bytes([5, y, 0, 5, 1, 2, 3, 4, 5, 0, 3, y + 1, 0, 0]) for y in range(9))
files["bmp_rle8.bmp"] = bmp(8, runs8 + b"\0\1", palette=quads(256), compression=1)
files["bmp_rle8_grey.bmp"] = bmp(8, runs8 + b"\0\1", palette=b"".join(bytes([i, i, i, 0]) for i in range(256)), compression=1)
files["bmp_rle8_delta.bmp"] = bmp(8, b"\5\7\0\2\3\1" + b"\4\x09\0\0" * 8, palette=quads(256), compression=1)
files["bmp_rle8_long_run.bmp"] = bmp(8, b"\x20\7\0\0" * 9, palette=quads(256), compression=1)
files["bmp_rle4.bmp"] = bmp(4, b"".join(bytes([5, 0x1F - y, 0, 5, 0x12, 0x34, 0x50, 0, 3, 0x69, 0, 0]) for y in range(9)) + b"\0\1", palette=quads(16), compression=2)
files["bmp_without_last_padding.bmp"] = bmp(24, bmp_rows(24))[:-1]
files["refused_bmp_cut.bmp"] = bmp(24, bmp_rows(24))[:-10]
files["refused_bmp_rle_ends_early.bmp"] = bmp(8, runs8[:40] + b"\0\1", palette=quads(256), compression=1)
files["refused_bmp_masks.bmp"] = bmp(32, bmp_rows(32), compression=3, masks=struct.pack("<III", 0x3FF, 0xFFC00, 0x3FF00000))
files["refused_bmp_jpeg.bmp"] = bmp(24, bmp_rows(24), compression=4)
files["refused_bmp_2_bits.bmp"] = bmp(2, bmp_rows(2), palette=quads(4))
files["bmp_rle8_black_white.bmp"] = bmp(8, b"\x0d\1\0\0" * 9, palette=b"\0\0\0\0\xff\xff\xff\0", colours=2, compression=1)

# ---- PPM and its kin


def numbers(n, most, seed=3):
    return [(i * i * seed + i * 17) % (most + 1) for i in range(n)]


def words(values):
    return "\n".join(" ".join(map(str, values[i : i + 11])) for i in range(0, len(values), 11)).encode()


files["pnm_p1.pbm"] = b"P1\n# a comment\n13 9\n" + "".join(map(str, numbers(117, 1))).encode()
files["pnm_p2.pgm"] = b"P2 13 9 255\n" + words(numbers(117, 255))
files["pnm_p2_15.pgm"] = b"P2 13 9 15 " + words(numbers(117, 15)) + b" # end"
files["pnm_p2_1000.pgm"] = b"P2 13 9 1000 " + words(numbers(117, 1000))
files["pnm_p3.ppm"] = b"P3\n13 9 # size\n200\n" + words(numbers(351, 200)) + b"\n"
files["pnm_p3_half.ppm"] = b"P3 13 9 510 " + words(numbers(351, 510))
files["pnm_p4.pbm"] = b"P4 13 9\n" + bytes(numbers(18, 255))
files["pnm_p5.pgm"] = b"P5 13 9 255\n" + bytes(numbers(117, 255))
files["pnm_p5_100.pgm"] = b"P5 13 9 100\n" + bytes(numbers(117, 140))
files["pnm_p5_300.pgm"] = b"P5 13 9 300\n" + b"".join(struct.pack(">H", v) for v in numbers(117, 320))
files["pnm_p5_65535.pgm"] = b"P5 13 9 65535\n" + b"".join(struct.pack(">H", v) for v in numbers(117, 400))
files["pnm_p6.ppm"] = saved(photo(), "PPM")
files["pnm_p6_comment.ppm"] = b"P6\n#c\n1#within\n3 9\n255\n" + bytes(numbers(351, 255))
files["pnm_p6_31.ppm"] = b"P6 13 9 31\n" + bytes(numbers(351, 31))
files["pnm_p6_65535.ppm"] = b"P6 13 9 65535\n" + b"".join(struct.pack(">H", v) for v in numbers(351, 65535, 7))
files["pnm_pf.pfm"] = b"Pf 13 9 -1.0\n" + b"".join(struct.pack("<f", v * 0.75 - 20) for v in numbers(117, 400))
files["pnm_pf_big.pfm"] = b"Pf 13 9 1\n" + b"".join(struct.pack(">f", v * 0.75 - 20) for v in numbers(117, 400))
files["refused_pnm_cut.ppm"] = files["pnm_p6.ppm"][:-1]
files["refused_pnm_value.ppm"] = b"P3 1 1 10 1 2 11"
files["refused_pnm_word.ppm"] = b"P3 1 1 10 1 2 x"
files["refused_pnm_maxval.ppm"] = b"P5 1 1 0 x"
files["refused_pnm_p1_cut.pbm"] = b"P1 4 4 0101"
files["refused_pnm_size.ppm"] = b"P6 0 4 255\n"

# ---- TIFF


def tiff(photometric, bits, samples, data, order="<", big=False, extra=(), kind=None, width=13, height=9, palette=None, compression=1, orientation=None):
    o = order
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples), (259, 3, [compression]), (262, 3, [photometric]), (273, 4, None), (277, 3, [samples]), (278, 4, [height]), (279, 4, [len(data)])]
    if orientation:
        entries.append((274, 3, [orientation]))
    if palette:
        entries.append((320, 3, palette))
    if extra:
        entries.append((338, 3, list(extra)))
    if kind:
        entries.append((339, 3, [kind] * samples))
    entries.sort(key=lambda e: e[0])
    wide, count_f = (8, "Q") if big else (4, "H")
    head = (b"II" if o == "<" else b"MM") + (struct.pack(o + "HHHQ", 43, 8, 0, 16) if big else struct.pack(o + "HI", 42, 8))
    size = len(head) + struct.calcsize(count_f) * 1 + len(entries) * (4 + 2 * wide) + wide
    if not big:
        size = len(head) + 2 + len(entries) * 12 + 4
    blob, table = b"", struct.pack(o + count_f, len(entries))
    offsets_at = size
    later = []
    for tag, t, values in entries:
        later.append((tag, t, values))
    # values that do not fit follow the table, then the pixels
    for tag, t, values in later:
        if values is not None and len(values) * (2 if t == 3 else 4) > wide:
            blob += struct.pack(o + ("H" if t == 3 else "I") * len(values), *values)
    start = size + len(blob)
    at = size
    for tag, t, values in later:
        values = [start] if values is None else values
        raw = struct.pack(o + ("H" if t == 3 else "I") * len(values), *values)
        if len(raw) > wide:
            value = struct.pack(o + ("Q" if big else "I"), at)
            at += len(raw)
        else:
            value = raw.ljust(wide, b"\0")
        table += struct.pack(o + "HH" + ("Q" if big else "I"), tag, t, len(values)) + value
    return head + table + struct.pack(o + ("Q" if big else "I"), 0) + blob + data


def shorts(n, order, seed=7, most=65535):
    return b"".join(struct.pack(order + "H", v) for v in numbers(n, most, seed))


for name, order in [("le", "<"), ("be", ">")]:
    files[f"tiff_rgb16_{name}.tif"] = tiff(2, 16, 3, shorts(351, order), order)
    files[f"tiff_rgba16_{name}.tif"] = tiff(2, 16, 4, shorts(468, order), order, extra=(2,))
    files[f"tiff_grey16_{name}.tif"] = tiff(1, 16, 1, shorts(117, order, 7, 400), order)
    files[f"tiff_int32_{name}.tif"] = tiff(1, 32, 1, b"".join(struct.pack(order + "i", v - 50) for v in numbers(117, 400)), order, kind=2)
    files[f"tiff_int16_{name}.tif"] = tiff(1, 16, 1, b"".join(struct.pack(order + "h", v - 50) for v in numbers(117, 400)), order, kind=2)
# of the other byte order Pillow refuses big files
files["tiff_big_rgb.tif"] = tiff(2, 8, 3, bytes(numbers(351, 255)), big=True)
files["tiff_big_rgb16.tif"] = tiff(2, 16, 3, shorts(351, "<"), big=True)
files["tiff_big_grey.tif"] = tiff(1, 8, 1, bytes(numbers(117, 255)), big=True)
files["tiff_rgb_alpha.tif"] = tiff(2, 8, 4, bytes(numbers(468, 255)), extra=(2,))
files["tiff_rgb_premultiplied.tif"] = tiff(2, 8, 4, bytes(numbers(468, 255)), extra=(1,))
files["tiff_cmyk.tif"] = tiff(5, 8, 4, bytes(numbers(468, 255)))
files["tiff_cmyk16.tif"] = tiff(5, 16, 4, shorts(468, "<"))
files["tiff_grey_inverted.tif"] = tiff(0, 8, 1, bytes(numbers(117, 255)))
files["tiff_grey_alpha.tif"] = tiff(1, 8, 2, bytes(numbers(234, 255)), extra=(2,))
files["tiff_palette.tif"] = tiff(3, 8, 1, bytes(numbers(117, 255)), palette=numbers(768, 65535, 11))
files["tiff_palette4.tif"] = tiff(3, 4, 1, bytes(numbers(63, 255)), palette=numbers(48, 65535, 11))
files["tiff_1bit.tif"] = tiff(1, 1, 1, bytes(numbers(18, 255)))
files["tiff_1bit_inverted.tif"] = tiff(0, 1, 1, bytes(numbers(18, 255)))
files["tiff_4bit.tif"] = tiff(1, 4, 1, bytes(numbers(63, 255)))
files["tiff_turned.tif"] = tiff(2, 8, 3, bytes(numbers(351, 255)), orientation=6)
files["tiff_turned16.tif"] = tiff(2, 16, 3, shorts(351, "<"), orientation=6)
for compression in ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"]:
    files[f"tiff_{compression}.tif"] = saved(photo(), "TIFF", compression=compression)

# ---- AVIF, WebP

files["avif_444.avif"] = saved(photo(), "AVIF", quality=90, subsampling="4:4:4")
files["avif_420.avif"] = saved(photo(48, 32), "AVIF", quality=80)
files["avif_grey.avif"] = saved(photo().convert("L"), "AVIF", quality=90, subsampling="4:0:0")
files["webp_lossless_alpha.webp"] = saved(photo().convert("RGBA"), "WEBP", lossless=True)
files["webp_lossy.webp"] = saved(photo(48, 32), "WEBP", quality=80)

# ---- what Pillow makes of them


def expected(data):
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception as error:  # whatever Pillow says
        return {"refused": f"{type(error).__name__}: {error}"[:90].replace("<_io.BytesIO object at 0x", "<")}
    data = image.tobytes()
    means = [round(sum(data[channel::3]) * 3 / len(data), 3) for channel in range(3)]
    return {"size": list(image.size), "means": means, "sha256": hashlib.sha256(data).hexdigest()}


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for name, data in files.items():
        with open(os.path.join(FOLDER, name), "wb") as out:
            out.write(data)
    results = {name: expected(data) for name, data in files.items()}
    with open(os.path.join(HERE, "images.json"), "w") as out:
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(result)}" for name, result in results.items())
        out.write(f'{{\n "pillow": "{PIL.__version__}",\n "images": {{\n{lines}\n }}\n}}\n')
    for name, result in results.items():
        if ("refused" in result) != name.startswith("refused"):
            print("not as named:", name, result)
