"""Take the picture of the site that the README shows, from a demo: `python -m tests.picture lake/demo`."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from ingestion.lake import PROJECT

PAGE = "site/open/en/public_buildings_energy_by_commune_month.html"
WIDTH, HEIGHT, SCALE = 1280, 1500, 0.8


def main() -> int:
    """Open the page in Chromium, and write what it shows with 256 colours: a third of the bytes."""
    page = Path(sys.argv[1], PAGE).absolute()
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
        tab.goto(f"file://{page}")
        content = tab.screenshot()
        browser.close()
    picture = PROJECT / "docs" / "site.png"
    picture.write_bytes(fewer_colours(content))
    print(f"{picture}: {picture.stat().st_size:,} bytes")
    return 0


def fewer_colours(content: bytes) -> bytes:
    """Write a PNG (8 bits, RGB or RGBA, as Chromium writes it) anew with the 256 colours that it holds most."""
    parts: dict[bytes, bytes] = {}
    place = 8
    while place < len(content):
        (size,), kind = struct.unpack(">I", content[place : place + 4]), content[place + 4 : place + 8]
        parts[kind] = parts.get(kind, b"") + content[place + 8 : place + 8 + size]
        place += 12 + size
    width, height, _, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    depth = {2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + width * depth)
    shown = np.zeros((height, width * depth), np.uint8)
    for y in range(height):
        shown[y] = _unfiltered(lines[y], shown[y - 1] if y else np.zeros(width * depth, np.uint8), depth)
    dots = shown.reshape(-1, depth)[:, :3].astype(np.int32)
    coarse = (dots[:, 0] >> 3 << 10) + (dots[:, 1] >> 3 << 5) + (dots[:, 2] >> 3)
    _, first, of, counts = np.unique(coarse, return_index=True, return_inverse=True, return_counts=True)
    kept = np.argsort(-counts)[:256]
    palette = dots[first[kept]]
    nearest = np.array([np.argmin(((palette - dots[each]) ** 2).sum(axis=1)) for each in first], np.uint8)
    rows = np.hstack([np.zeros((height, 1), np.uint8), nearest[of].reshape(height, width)])
    told = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return content[:8] + b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in told)


def _unfiltered(line: np.ndarray, above: np.ndarray, depth: int) -> np.ndarray:
    """Undo the filter of a line of a PNG."""
    kind, row = line[0], line[1:].astype(np.int32)
    if kind == 2:
        return ((row + above) % 256).astype(np.uint8)
    if kind in (1, 3, 4):
        done, up = np.zeros(len(row) + depth, np.int32), np.concatenate([np.zeros(depth, np.int32), above.astype(np.int32)])
        for i in range(depth, len(done)):
            left, over, corner = done[i - depth], up[i], up[i - depth]
            near = min((left, over, corner), key=lambda each, to=left + over - corner: abs(to - each))
            done[i] = (row[i - depth] + (left, (left + over) // 2, near)[(1, 3, 4).index(kind)]) % 256
        return done[depth:].astype(np.uint8)
    return row.astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
