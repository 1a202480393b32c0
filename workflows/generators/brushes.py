"""What a painter needs, on float32 planes from 0 to 1: (height, width) is a tone, (3, height, width) a colour.

All lengths are pixels. Every function takes time linear in the number of pixels.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy import ndimage

Array = npt.NDArray[np.float32]

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def colour(red: float, green: float, blue: float) -> Array:
    return np.array([red, green, blue], np.float32)[:, None, None]


def luminance(planes: Array) -> Array:
    return np.tensordot(LUMA, planes, 1).astype(np.float32, copy=False)


def ramp(values: Array, low: float, high: float) -> Array:
    """From 0 at `low` to 1 at `high`, with soft ends."""
    t: Array = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def to_image(planes: Array) -> Image.Image:
    pixels = np.empty((*planes.shape[1:], 3), np.uint8)
    for channel, plane in enumerate(planes):
        pixels[..., channel] = np.clip(plane * 255 + 0.5, 0, 255)
    return Image.fromarray(pixels)


def to_planes(image: Image.Image) -> Array:
    pixels = np.asarray(image.convert("RGB"))
    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, plane in enumerate(planes):
        np.multiply(pixels[..., channel], np.float32(1 / 255), out=plane)
    return planes


def blur(plane: Array, sigma: float) -> Array:
    if sigma < 4:
        return ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=3)
    # A wide blur has no detail to lose: done on a small copy, its cost does not grow with sigma.
    factor = int(sigma // 2)
    small = resized(plane, reduced(plane.shape, factor), Image.Resampling.BOX)
    return resized(ndimage.gaussian_filter(small, sigma / factor, mode="nearest", truncate=3), plane.shape)


def reduced(shape: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(math.ceil(length / factor) for length in shape)


def resized(
    plane: Array,
    shape: tuple[int, ...],
    by: Image.Resampling = Image.Resampling.BICUBIC,
    box: tuple[float, float, float, float] | None = None,
) -> Array:
    height, width = shape
    return np.asarray(Image.fromarray(plane).resize((width, height), by, box))


def noise(shape: tuple[int, ...], size: float, seed: int, octaves: int = 3) -> Array:
    """Clouds of about the given size, mean 0 and deviation about 1: random grids, each half the size of the last."""
    finest = size / 2 ** (octaves - 1)
    if finest >= 10:
        factor = int(finest // 5)
        return resized(noise(reduced(shape, factor), size / factor, seed, octaves), shape)
    height, width = shape
    random = np.random.default_rng(seed)
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        cell = max(1.0, size / 2**octave)
        grid = random.standard_normal((int(height / cell) + 3, int(width / cell) + 3), np.float32)
        box = (0.5, 0.5, 0.5 + width / cell, 0.5 + height / cell)
        total += resized(grid, shape, box=box) * np.float32(1.6 * 0.5**octave)
    return total


def paper_grain(shape: tuple[int, ...], unit: float) -> Array:
    """The height of cold-pressed paper, mean 0 and deviation about 1."""
    raw = np.random.default_rng(7).standard_normal(shape, np.float32)
    fine, coarse = 0.6 * unit, 1.8 * unit
    grain = blur(raw, fine) * np.float32(2 * fine)
    grain += blur(raw, coarse) * np.float32(2 * coarse)
    return grain


def paper(tint: Array, grain: Array, unit: float) -> Array:
    """A sheet lit from the upper left."""
    relief = ndimage.sobel(grain, 0, mode="nearest") + ndimage.sobel(grain, 1, mode="nearest")
    shade = 1 + 0.006 * np.clip(relief, -4, 4) + 0.006 * noise(grain.shape, 300 * unit, 5)
    return tint * shade


def kuwahara(planes: Array, radius: float) -> Array:
    """Smooth areas and keep edges: each pixel becomes like the calmest of the eight neighbourhoods around it.

    The generalised Kuwahara filter (Papari, Petkov and Campisi, 2007) with round windows, weighted by variance⁻³.
    """
    if min(planes.shape[1:]) < 8:
        return planes.copy()
    weight = _calmness(planes, radius / 2)
    reach = max(1, round(radius))
    offsets = [(round(reach * math.sin(a)), round(reach * math.cos(a))) for a in np.arange(8) * math.pi / 4]
    padded = np.pad(weight, reach, mode="edge")
    total = _sum_shifted(padded, reach, offsets)
    result = np.empty_like(planes)
    for plane, out in zip(planes, result, strict=True):
        near = np.pad(blur(plane, radius / 2), reach, mode="edge")
        near *= padded
        np.divide(_sum_shifted(near, reach, offsets), total, out=out)
    return result


def _calmness(planes: Array, sigma: float) -> Array:
    noise_floor = np.float32(4e-4)
    grey = luminance(planes)
    mean = blur(grey, sigma)
    variance = np.maximum(blur(grey * grey, sigma) - mean * mean, 0)
    return (noise_floor / (variance + noise_floor)) ** 3 + np.float32(1e-9)


def _sum_shifted(padded: Array, reach: int, offsets: list[tuple[int, int]]) -> Array:
    height, width = padded.shape[0] - 2 * reach, padded.shape[1] - 2 * reach
    total = np.zeros((height, width), np.float32)
    for dy, dx in offsets:
        total += padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    return total


def ink_lines(planes: Array, unit: float, weight: float = 1.0) -> Array:
    """How much ink a pen would leave, along the edges of the picture.

    A difference of Gaussians, measured against the contrast around it and averaged along the direction of the edge:
    after the flow-based DoG of Kang, Lee and Chui (2007).
    """
    grey = luminance(planes)
    # Lines are smooth, and made crisp by the ramp at the end: half the resolution of a large picture is enough.
    factor = max(1, round(unit))
    small = resized(grey, reduced(grey.shape, factor), Image.Resampling.BOX)
    return ramp(resized(_edges(small, unit / factor, weight), grey.shape), 0.35, 1.1)


def _edges(grey: Array, unit: float, weight: float) -> Array:
    sigma = 0.9 * unit * weight
    edge = blur(grey, 1.6 * sigma) - blur(grey, sigma)
    contrast = np.sqrt(np.maximum(blur(edge * edge, 14 * unit), 0))
    edge /= contrast + np.float32(0.006)
    return _along(edge, _edge_flow(blur(grey, unit), 3 * unit), 5 * unit)


def _edge_flow(grey: Array, sigma: float) -> tuple[Array, Array]:
    """The direction along the edges as dy, dx: the minor axis of the smoothed structure tensor."""
    gy = ndimage.sobel(grey, 0, mode="nearest")
    gx = ndimage.sobel(grey, 1, mode="nearest")
    across = blur(gx * gx, sigma) - blur(gy * gy, sigma)
    angle = np.arctan2(2 * blur(gx * gy, sigma), across) / 2
    return np.cos(angle), -np.sin(angle)


def _along(plane: Array, flow: tuple[Array, Array], length: float) -> Array:
    """The mean over `length` to both sides along the flow, in five steps each."""
    total = plane.ravel().copy()
    for sign in (1, -1):
        for at in _walk(flow, sign * max(1.0, length / 5), steps=5):
            total += plane.ravel().take(at)
    total /= 11
    return total.reshape(plane.shape)


def _walk(flow: tuple[Array, Array], stride: float, steps: int) -> Iterator[npt.NDArray[np.intp]]:
    """From every pixel at once, the index of the pixel each step reaches. Edges have no sign, so none turns back."""
    height, width = flow[0].shape
    fy, fx = flow[0].ravel() * np.float32(stride), flow[1].ravel() * np.float32(stride)
    y = np.repeat(np.arange(height, dtype=np.float32), width)
    x = np.tile(np.arange(width, dtype=np.float32), height)
    vy, vx = fy, fx
    for step in range(steps):
        np.clip(y + vy, 0, height - 1, out=y)
        np.clip(x + vx, 0, width - 1, out=x)
        at = (y + 0.5).astype(np.intp)
        at *= width
        at += (x + 0.5).astype(np.intp)
        yield at
        if step + 1 < steps:
            ny, nx = fy.take(at), fx.take(at)
            turn = np.copysign(np.float32(1), ny * vy + nx * vx)
            vy, vx = ny * turn, nx * turn


def toned(planes: Array, median: float, white: float) -> Array:
    """Stretched so that the brightest tones come near `white` and the middle one near `median`, within reason."""
    grey = luminance(planes)
    low, middle, high = (float(tone) for tone in np.percentile(grey[::4, ::4], [0.5, 50, 99.5]))
    low = 0.6 * min(low, 0.2)
    high = max(high, low + 0.35, 0.6)
    middle = min(max((middle - low) / (high - low), 0.08), 0.85)
    gamma = min(max(math.log(median) / math.log(middle), 0.5), 1.1)
    wanted = white * np.clip((grey - low) / (high - low), 0, 1.04) ** gamma
    # Colour is lifted less than tone: what was dark and noisy would turn garish.
    lift = np.sqrt(wanted / (grey + 0.02))
    result: Array = wanted + (planes - grey) * lift
    return result


def apart(colours: Array) -> Array:
    """(n, 3) colours where distance is how different they look: hue weighs more, so that a red roof counts."""
    grey = colours @ LUMA
    return np.stack([grey, 1.6 * (colours[:, 0] - grey), 1.6 * (colours[:, 2] - grey)], axis=1)


def palette(planes: Array, count: int) -> Array:
    """Up to `count` colours (n, 3) that the picture is made of, dark to light: k-means from far-apart seeds."""
    pixels = _sampled(planes, 8000)
    points = apart(pixels)
    centres = _far_apart(points, count)
    for _ in range(8):
        near = nearest(points, centres)
        for index in np.unique(near):
            centres[index] = points[near == index].mean(0)
    near = nearest(points, _distinct(centres))
    colours = np.stack([pixels[near == index].mean(0) for index in np.unique(near)])
    return colours[np.argsort(colours @ LUMA, kind="stable")]


def _distinct(centres: Array, least: float = 0.06) -> Array:
    """Without those that only noise tells from another."""
    kept = [centres[0]]
    for centre in centres[1:]:
        if all(float(np.linalg.norm(centre - other)) > least for other in kept):
            kept.append(centre)
    return np.stack(kept)


def _sampled(planes: Array, count: int) -> Array:
    height, width = planes.shape[1:]
    step = max(1, int(math.sqrt(height * width / count)))
    start_y, start_x = min(step, height) // 2, min(step, width) // 2
    return planes[:, start_y::step, start_x::step].reshape(3, -1).T


def _far_apart(points: Array, count: int) -> Array:
    centres = [points.mean(0)]
    gap = ((points - centres[0]) ** 2).sum(1)
    for _ in range(count - 1):
        centres.append(points[gap.argmax()])
        gap = np.minimum(gap, ((points - centres[-1]) ** 2).sum(1))
    return np.stack(centres)


def nearest(points: Array, centres: Array) -> npt.NDArray[np.intp]:
    index: npt.NDArray[np.intp] = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    return index


def nearest_plane(planes: Array, colours: Array) -> npt.NDArray[np.intp]:
    """For every pixel the index of the colour nearest to it."""
    grey = luminance(planes)
    red, blue = 1.6 * (planes[0] - grey), 1.6 * (planes[2] - grey)
    least, index = np.full(grey.shape, np.inf, np.float32), np.zeros(grey.shape, np.intp)
    for candidate, (g, r, b) in enumerate(apart(colours)):
        distance = (grey - g) ** 2 + (red - r) ** 2 + (blue - b) ** 2
        index[distance < least] = candidate
        np.minimum(least, distance, out=least)
    return index


def graded(planes: Array, recolour: Callable[[Array], Array]) -> Array:
    """Every pixel through `recolour`, a function of (n, 3) colours that is worked out for a grid of colours only."""
    grid = 33
    axis = np.linspace(0, 1, grid, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    table = recolour(np.stack([red.ravel(), green.ravel(), blue.ravel()], axis=1))
    return to_planes(to_image(planes).filter(ImageFilter.Color3DLUT(grid, np.clip(table, 0, 1).ravel())))


def saturated(colours: Array, factor: float) -> Array:
    grey: Array = (colours @ LUMA)[:, None]
    return grey + (colours - grey) * factor


def wobbled(planes: Array, amount: float, size: float, seed: int) -> Array:
    """Displaced a little, as by a hand that paints without a ruler."""
    height, width = planes.shape[1:]
    y = np.arange(height, dtype=np.float32)[:, None] + amount * noise((height, width), size, seed)
    x = np.arange(width, dtype=np.float32) + amount * noise((height, width), size, seed + 1)
    return np.stack([ndimage.map_coordinates(plane, [y, x], order=1, mode="nearest") for plane in planes])


def depth_inside_border(shape: tuple[int, ...], margin: float, roughness: float, seed: int) -> Array:
    """How far inside a ragged, rounded edge, as a fraction of the shorter side; negative on the bare paper outside."""
    short = min(shape)
    if short < 48:
        return np.ones(shape, np.float32)
    down, across = (_from_edge(length) / np.float32(0.03 * short) for length in shape)
    rounded = -0.03 * np.log(np.exp(-down)[:, None] + np.exp(-across)[None])
    depth: Array = rounded - margin + roughness * noise(shape, 0.09 * short, seed, octaves=4)
    return depth


def _from_edge(length: int) -> Array:
    at = np.arange(length, dtype=np.float32)
    return np.minimum(at, at[::-1])


def beyond(detail: Array, limit: float) -> Array:
    """The part of a detail that is too strong to be left out: letters, eyes, lights in the dark."""
    return detail - np.clip(detail, -limit, limit)


def thin_strokes(planes: Array, unit: float) -> Array:
    """Dark lines on a light ground that are thinner than a brush: letters, drawings. A black top-hat."""
    grey = luminance(planes)
    side = 2 * round(4 * unit) + 1
    ground = ndimage.grey_closing(grey, (side, side), mode="nearest")
    return ramp(ground - grey, 0.2, 0.5) * ramp(ground, 0.75, 0.92)


def bare_paper(planes: Array, unit: float) -> Array:
    """Where the picture is white, and a painter would leave the paper alone."""
    return blur(ramp(planes.min(0), 0.955, 0.985), 1.5 * unit)


def pooled(tone: Array, sigma: float) -> Array:
    """Where pigment gathers as a wash dries: the dark side of every edge."""
    gathered: Array = np.maximum(blur(tone, sigma) - tone, 0)
    return gathered


def halftone(shape: tuple[int, ...], period: float) -> Array:
    """A screen at 45°, 0 at the middle of its dots to 1 between them."""
    down, across = (np.arange(length, dtype=np.float32) * (math.pi * math.sqrt(2) / period) for length in shape)
    rising: Array = np.cos(down[:, None] + across)
    falling: Array = np.cos(down[:, None] - across)
    return 0.5 - 0.25 * (rising + falling)
