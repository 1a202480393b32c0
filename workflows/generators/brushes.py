"""What a painter needs, on float32 planes from 0 to 1: (height, width) is a tone, (3, height, width) a colour.

All lengths are pixels. Every function takes time linear in the number of pixels.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

# Each worker process has one core; more threads than cores only wait for each other.
cv2.setNumThreads(1)

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
"""(height, width, 3), red first."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)

BAND = 128
"""Rows."""


def _array(plane: cv2.typing.MatLike) -> Array:
    return np.asarray(plane, np.float32)


def toned_pixels(pixels: Pixels) -> Array:
    """Return the luminance of pixels."""
    return np.multiply(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32(1 / 255), dtype=np.float32)


def reduced_planes(pixels: Pixels, factor: int) -> Array:
    """Return planes of the means of squares of `factor` pixels; both sides must be multiples of it."""
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    planes = np.empty((3, height, width), np.float32)
    for rows, _, _ in bands(height):
        part = np.multiply(pixels[factor * rows.start : factor * rows.stop], np.float32(1 / 255), dtype=np.float32)
        size = (width, rows.stop - rows.start)
        mean = cv2.resize(part, size, interpolation=cv2.INTER_AREA) if factor > 1 else part
        planes[:, rows] = np.moveaxis(mean, 2, 0)
    return planes


def to_pixels(planes: Array) -> Pixels:
    # A product with an 8-bit result is rounded and clipped.
    return np.asarray(cv2.merge([cv2.multiply(plane, 255, dtype=cv2.CV_8U) for plane in planes]), np.uint8)


def bands(height: int, halo: float = 0) -> Iterator[tuple[slice, slice, slice]]:
    """Cut `height` rows into bands: the rows of each, those with `halo` more on both sides, the first within these."""
    reach = math.ceil(halo)
    for top in range(0, height, BAND):
        bottom, first = min(top + BAND, height), max(0, top - reach)
        yield slice(top, bottom), slice(first, min(bottom + reach, height)), slice(top - first, bottom - first)


def colour(red: float, green: float, blue: float) -> Array:
    return np.array([red, green, blue], np.float32)[:, None, None]


def luminance(planes: Array) -> Array:
    grey: Array = planes[0] * LUMA[0]
    for weight, plane in zip(LUMA[1:], planes[1:], strict=True):
        grey += weight * plane
    return grey


def ramp(values: Array, low: float, high: float) -> Array:
    """Rise from 0 at `low` to 1 at `high`, with soft ends."""
    t: Array = values - np.float32(low)
    t *= np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    steep: Array = 3 - 2 * t
    t *= t
    t *= steep
    return t


def exp(values: Array) -> Array:
    return _array(cv2.exp(values)).reshape(values.shape)


def log(values: Array) -> Array:
    return _array(cv2.log(values)).reshape(values.shape)


def blur(plane: Array, sigma: float) -> Array:
    """Blur by a Gaussian, cut off at three sigmas."""
    if sigma < 4:
        side = 2 * math.ceil(3 * sigma) + 1
        return _array(cv2.GaussianBlur(plane, (side, side), sigma, borderType=cv2.BORDER_REPLICATE))
    # A wide blur leaves no detail: run on a reduced copy, its cost does not grow with sigma.
    factor = int(sigma // 2)
    return enlarged(blur(shrunk(plane, factor), sigma / factor), factor, plane.shape)


def shrunk(plane: Array, factor: int) -> Array:
    """Return the means of squares of `factor` pixels; the last ones are filled up with the edge."""
    height, width = (math.ceil(length / factor) for length in plane.shape)
    if factor == 1:
        return plane
    down, right = factor * height - plane.shape[0], factor * width - plane.shape[1]
    if down or right:
        plane = _array(cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE))
    return _array(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)).reshape(height, width)


def enlarged(plane: Array, factor: int, shape: tuple[int, ...]) -> Array:
    """Undo `shrunk`, for a plane of `shape`."""
    if factor == 1:
        return plane
    height, width = (factor * length for length in plane.shape)
    whole = _array(cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC)).reshape(height, width)
    return whole[: shape[0], : shape[1]]


class Field:
    """A plane without fine detail, kept as a copy reduced by `factor` and read in bands of rows."""

    def __init__(self, small: Array, factor: float, width: int) -> None:
        self.small, self.factor, self.width = small, factor, width

    def at(self, y: Array, x: Array) -> Array:
        """Return the values at given places of the full size."""
        step = np.float32(1 / self.factor)
        to_x, to_y = x * step, y * step
        to_x += 0.5 * step - np.float32(0.5)
        to_y += 0.5 * step - np.float32(0.5)
        found = cv2.remap(self.small, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return _array(found).reshape(y.shape)

    def rows(self, rows: slice) -> Array:
        step, height = 1 / self.factor, rows.stop - rows.start
        offset = 0.5 * step - 0.5
        matrix = np.array([[step, 0, offset], [0, step, offset + rows.start * step]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        found = cv2.warpAffine(self.small, matrix, (self.width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return _array(found).reshape(height, self.width)


def clouds(shape: tuple[int, ...], size: float, seed: int, octaves: int = 3) -> Field:
    """Return noise of about that size, mean 0 and deviation about 1: random grids, each twice as fine as the last."""
    factor = max(1, int(size / 2 ** (octaves - 1) // 4))
    height, width = (math.ceil(length / factor) + 2 for length in shape)
    random = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = max(1.0, size / factor / 2**octave)
        grid = random.standard_normal((int(height / cell) + 4, int(width / cell) + 4), np.float32)
        matrix = np.array([[1 / cell, 0, 1], [0, 1 / cell, 1]], np.float32)
        layer = cv2.warpAffine(grid, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        total += _array(layer).reshape(height, width) * np.float32(1.05 * 0.5**octave)
    return Field(total, factor, shape[1])


class Paper:
    """A sheet of cold-pressed paper lit from the upper left. Its grain repeats every 640 pixels."""

    TILE = 640

    def __init__(self, shape: tuple[int, ...], unit: float) -> None:
        reach, fine, coarse = math.ceil(6 * unit) + 1, 0.6 * unit, 1.8 * unit
        raw = np.random.default_rng(7).standard_normal((self.TILE, self.TILE), np.float32)
        raw = _array(cv2.copyMakeBorder(raw, reach, reach, reach, reach, cv2.BORDER_WRAP))
        grain = blur(raw, fine) * np.float32(2 * fine) + blur(raw, coarse) * np.float32(2 * coarse)
        relief = _array(cv2.Sobel(grain, -1, 1, 0)) + _array(cv2.Sobel(grain, -1, 0, 1))
        inner = slice(reach, reach + self.TILE)
        self._grain, self._shade = grain[inner, inner], 1 + np.float32(0.006) * np.clip(relief[inner, inner], -4, 4)
        self._width, self._light = shape[1], clouds(shape, 300 * unit, 5)

    def grain(self, rows: slice) -> Array:
        """Return the height of the grain, mean 0 and deviation about 1."""
        return self._tiled(self._grain, rows)

    def sheet(self, tint: Array, rows: slice) -> Array:
        shade = self._tiled(self._shade, rows)
        shade += np.float32(0.006) * self._light.rows(rows)
        return tint * shade

    def _tiled(self, tile: Array, rows: slice) -> Array:
        down, across = (np.arange(part.start, part.stop) % self.TILE for part in (rows, slice(0, self._width)))
        return tile[down[:, None], across]


def kuwahara_reach(radius: float) -> float:
    """Return how far away a pixel may be to count in `kuwahara`."""
    return 2.5 * radius + 2


def kuwahara(planes: Array, radius: float) -> Array:
    """Smooth areas and keep edges: each pixel becomes like the calmest of the eight neighbourhoods around it.

    The generalised Kuwahara filter (Papari, Petkov and Campisi, 2007) with round windows, weighted by variance⁻³.
    """
    shape = planes.shape[1:]
    if min(shape) < 8:
        return planes.copy()
    # OpenCV takes time by the ones of a small kernel, and by another method for a large one: larger rings are as good
    # on a reduced copy.
    factor = math.ceil(radius / 5.4)
    if factor > 1:
        small = kuwahara(np.stack([shrunk(plane, factor) for plane in planes]), radius / factor)
        return np.stack([enlarged(plane, factor, shape) for plane in small])
    weight = _calmness(planes, radius / 2)
    around = _ring(max(1, round(radius)))
    scale = 1 / _array(cv2.filter2D(weight, -1, around, borderType=cv2.BORDER_REPLICATE))
    result = np.empty_like(planes)
    for plane, out in zip(planes, result, strict=True):
        near = blur(plane, radius / 2)
        near *= weight
        np.multiply(cv2.filter2D(near, -1, around, borderType=cv2.BORDER_REPLICATE), scale, out=out)
    return result


def _calmness(planes: Array, sigma: float) -> Array:
    noise_floor = np.float32(4e-4)
    grey = luminance(planes) if len(planes) == 3 else planes[0]
    mean = blur(grey, sigma)
    variance = np.maximum(blur(grey * grey, sigma) - mean * mean, 0)
    calm: Array = noise_floor / (variance + noise_floor)
    return calm * calm * calm + np.float32(1e-9)


def _ring(radius: int) -> Array:
    """Return a kernel of eight ones on a circle."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    for angle in np.arange(8) * math.pi / 4:
        kernel[radius + round(radius * math.sin(angle)), radius + round(radius * math.cos(angle))] = 1
    return kernel


def edges(grey: Array, unit: float, weight: float = 1.0) -> Array:
    """Return how strong the lines are that a pen would draw: 0.35 is the faintest, 1.1 a full one.

    A difference of Gaussians, measured against the contrast around it and averaged along the direction of the edge:
    after the flow-based DoG of Kang, Lee and Chui (2007).
    """
    sigma = 0.9 * unit * weight
    edge = blur(grey, 1.6 * sigma) - blur(grey, sigma)
    contrast = np.sqrt(np.maximum(blur(edge * edge, 14 * unit), 0))
    edge /= contrast + np.float32(0.006)
    return _along(edge, _edge_flow(blur(grey, unit), 3 * unit), (unit, 2 * unit, 2 * unit))


def _edge_flow(grey: Array, sigma: float) -> tuple[Array, Array]:
    """Return the direction along the edges as dy, dx: the minor axis of the smoothed structure tensor."""
    gy, gx = _array(cv2.Sobel(grey, -1, 0, 1)), _array(cv2.Sobel(grey, -1, 1, 0))
    across = blur(gx * gx, sigma) - blur(gy * gy, sigma)
    angle = np.arctan2(2 * blur(gx * gy, sigma), across) / 2
    return np.cos(angle), -np.sin(angle)


def _along(plane: Array, flow: tuple[Array, Array], strides: Sequence[float]) -> Array:
    """Smooth along the flow: after each stride, the mean of a pixel and of those one stride to both sides of it."""
    height, width = plane.shape
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    for stride in strides:
        dy, dx = (np.float32(max(1.0, stride)) * part for part in flow)
        total = plane.copy()
        for to_y, to_x in ((y + dy, x + dx), (y - dy, x - dx)):
            found = cv2.remap(plane, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            total += _array(found).reshape(plane.shape)
        plane = total / 3
    return plane


class Tone:
    """A curve by which the brightest tones of a picture come near `white` and the middle one near `median`."""

    def __init__(self, grey: Array, median: float, white: float) -> None:
        low, middle, high = (float(tone) for tone in np.percentile(grey, [0.5, 50, 99.5]))
        self._low = 0.6 * min(low, 0.2)
        self._range = max(high, self._low + 0.35, 0.6) - self._low
        middle = min(max((middle - self._low) / self._range, 0.08), 0.85)
        self._gamma = min(max(math.log(median) / math.log(middle), 0.5), 1.1)
        self._white = white

    def of_grey(self, grey: Array) -> Array:
        wanted = np.clip((grey - np.float32(self._low)) * np.float32(1 / self._range), 0, 1.04)
        wanted = _array(cv2.pow(wanted, self._gamma)).reshape(grey.shape)
        wanted *= np.float32(self._white)
        return wanted

    def __call__(self, planes: Array) -> Array:
        grey = luminance(planes)
        wanted = self.of_grey(grey)
        # Colour is lifted less than tone: what was dark and noisy would turn garish.
        lift = np.sqrt(wanted / (grey + np.float32(0.02)))
        wanted -= grey * lift
        return planes * lift + wanted


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
    """Leave out the centres that only noise tells from another."""
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


def nearest_plane(planes: Array, colours: Array) -> npt.NDArray[np.uint8]:
    """Return for every pixel the index of the colour nearest to it, as `apart` tells."""
    points = apart(np.ascontiguousarray(planes.reshape(3, -1).T))
    centres = apart(colours)
    closeness = 2 * points @ centres.T - (centres**2).sum(1)
    return closeness.argmax(1).astype(np.uint8).reshape(planes.shape[1:])


class Grade:
    """`recolour`, a function of (n, 3) colours, worked out for a grid of colours only."""

    SIDE = 33

    def __init__(self, recolour: Callable[[Array], Array]) -> None:
        axis = np.linspace(0, 1, self.SIDE, dtype=np.float32)
        blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
        table = recolour(np.stack([red.ravel(), green.ravel(), blue.ravel()], axis=1))
        self._filter = ImageFilter.Color3DLUT(self.SIDE, np.clip(table, 0, 1).ravel())

    def __call__(self, planes: Array) -> Array:
        graded = np.asarray(Image.fromarray(to_pixels(planes)).filter(self._filter))
        return np.stack([_array(cv2.multiply(graded[..., band], 1 / 255, dtype=cv2.CV_32F)) for band in range(3)])


def saturated(colours: Array, factor: float | Array) -> Array:
    grey: Array = (colours @ LUMA)[:, None]
    return grey + (colours - grey) * factor


def skin(colours: Array) -> Array:
    """How much (n, 3) colours look like skin, light or dark, 0 to 1: hues from 3° to 45°, neither grey nor garish."""
    red, green, blue = colours.T
    chroma = np.maximum(red - np.minimum(green, blue), np.float32(1e-4))
    hue = (green - blue) / chroma
    strength = chroma / np.maximum(red, np.float32(1e-3))
    return (
        ramp(hue, -0.05, 0.1)
        * (1 - ramp(hue, 0.62, 0.85))
        * (red >= green)
        * ramp(strength, 0.1, 0.2)
        * (1 - ramp(strength, 0.62, 0.8))
        * ramp(red, 0.12, 0.3)
    )


class Wobble:
    """Displaces a little, as a hand that paints without a ruler."""

    def __init__(self, shape: tuple[int, ...], amount: float, size: float, seed: int) -> None:
        self._amount, self._down, self._across = amount, clouds(shape, size, seed), clouds(shape, size, seed + 1)

    def places(self, rows: slice, steadiness: Array) -> tuple[Array, Array]:
        """Return the y and x from which each pixel of `rows` is taken: itself where the hand is steady, 1."""
        amount: Array = self._amount * (1 - steadiness)
        y, x = self._down.rows(rows), self._across.rows(rows)
        y *= amount
        x *= amount
        y += np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        x += np.arange(x.shape[1], dtype=np.float32)
        return y, x


class Border:
    """A ragged, rounded edge of bare paper around a picture."""

    def __init__(self, shape: tuple[int, ...], margin: float, roughness: float, seed: int) -> None:
        self._short, self._width, self._margin, self._roughness = min(shape), shape[1], margin, roughness
        if self._short >= 48:
            self._from_edge = [self._distance(length) / np.float32(0.03 * self._short) for length in shape]
            self._rough = clouds(shape, 0.09 * self._short, seed, octaves=4)

    @staticmethod
    def _distance(length: int) -> Array:
        at = np.arange(length, dtype=np.float32)
        return np.minimum(at, at[::-1])

    def depth(self, rows: slice) -> Array:
        """Return how far inside the edge, as a fraction of the shorter side; negative on the bare paper outside."""
        if self._short < 48:
            return np.ones((rows.stop - rows.start, self._width), np.float32)
        down, across = self._from_edge
        depth = log(np.exp(-down[rows])[:, None] + np.exp(-across)[None] + np.float32(1e-30)) * np.float32(-0.03)
        depth -= np.float32(self._margin)
        depth += np.float32(self._roughness) * self._rough.rows(rows)
        return depth


def beyond(detail: Array, limit: float) -> Array:
    """The part of a detail that is too strong to be left out: letters, eyes, lights in the dark."""
    return detail - np.clip(detail, -limit, limit)


def thin_strokes(grey: Array, unit: float) -> Array:
    """Dark lines on a light ground that are thinner than a brush: letters, drawings. A black top-hat."""
    ground = _brushed(grey, cv2.MORPH_CLOSE, unit)
    return ramp(ground - grey, 0.2, 0.5) * ramp(ground, 0.75, 0.92)


def fine_features(grey: Array, unit: float) -> Array:
    """How much a thing thinner than a brush stands out, light or dark, from the ground around it."""
    light = grey - _brushed(grey, cv2.MORPH_OPEN, unit)
    return np.maximum(light, _brushed(grey, cv2.MORPH_CLOSE, unit) - grey)


def _brushed(grey: Array, operation: int, unit: float) -> Array:
    side = 2 * round(4 * unit) + 1
    kernel = np.ones((side, side), np.uint8)
    found = cv2.morphologyEx(grey, operation, kernel, borderType=cv2.BORDER_REPLICATE)
    return _array(found).reshape(grey.shape)


def bare_paper(planes: Array, unit: float) -> Array:
    """Where the picture is white, and a painter would leave the paper alone."""
    return blur(ramp(planes.min(0), 0.955, 0.985), 1.5 * unit)


def pooled(tone: Array, sigma: float) -> Array:
    """Where pigment gathers as a wash dries: the dark side of every edge."""
    gathered: Array = np.maximum(blur(tone, sigma) - tone, 0)
    return gathered


def halftone(rows: slice, width: int, period: float) -> Array:
    """A screen at 45°, 0 at the middle of its dots to 1 between them."""
    step = np.float32(math.pi * math.sqrt(2) / period)
    down, across = (np.arange(part.start, part.stop, dtype=np.float32) * step for part in (rows, slice(0, width)))
    # cos(a + b) + cos(a - b) is 2 cos a cos b
    return 0.5 - 0.5 * np.cos(down)[:, None] * np.cos(across)
