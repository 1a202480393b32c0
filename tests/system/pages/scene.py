"""A drawn scene for pictures of Darkroom itself: evening at a lake."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Planes = NDArray[np.float64]


def lake(width: int = 1600, height: int = 1200) -> Image.Image:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    scene = _mixed((y / 0.6)[..., None], (46, 84, 150), (250, 176, 120))
    scene += (np.exp(-((x - 0.66) ** 2 * 2 + (y - 0.5) ** 2 * 3) * 14) * 60)[..., None] * (1, 0.85, 0.5)
    clouds = _noise(height, width, 7, (3, 9))
    scene = _over(scene, (255, 226, 206), np.clip((clouds - 0.56) * 4, 0, 0.75) * (y < 0.42))
    sun = np.hypot((x - 0.66) * width / height, y - 0.43)
    scene = _over(scene, (255, 246, 214), np.clip((0.05 - sun) * 200, 0, 1))
    for base, rough, colour, seed in (
        (0.46, 0.16, (108, 116, 160), 1),
        (0.52, 0.10, (74, 96, 124), 2),
        (0.575, 0.06, (44, 80, 84), 3),
    ):
        ridge = base - rough * (_line(width, seed) - 0.35)
        shade = _noise(height, width, 20 + seed, (18, 30))[..., None] * 50 - 25
        scene = np.where((y > ridge)[..., None], np.array(colour) + shade, scene)
    shore = 0.6
    mirrored = scene[np.clip(((2 * shore - y[:, 0]) * height).astype(int), 0, height - 1)]
    ripples = np.sin(y * 900 + 6 * _noise(height, width, 9, (4, 60))) * 9
    water = 0.72 * mirrored + np.array((14, 26, 44)) + ripples[..., None] * (y - shore)[..., None] * 2
    glitter = np.exp(-((x - 0.66) ** 2) * 300) * np.clip(np.sin(y * 700 + x * 40), 0, 1) * 90
    water += glitter[..., None] * (1, 0.9, 0.6)
    scene = np.where((y > shore)[..., None], water, scene)
    image = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(width / 1600))
    _draw_foreground(image)
    grain = np.random.default_rng(4).normal(0, 3, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def _draw_foreground(image: Image.Image) -> None:
    width, height = image.size
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(11)
    for x in [*np.linspace(-0.02, 0.3, 12), *np.linspace(0.88, 1.02, 6)]:
        tall = random.uniform(0.2, 0.42) * (1.15 - abs(x - 0.08) if x < 0.5 else 0.8)
        _draw_fir(draw, x * width, height * (0.66 + random.uniform(0, 0.03)), tall * height, random)
    bank = [(0, 0.66), (0.18, 0.65), (0.34, 0.69), (0.42, 0.75), (0.3, 0.8), (0.12, 0.86), (0, 0.88)]
    draw.polygon([(x * width, y * height) for x, y in bank], fill=(36, 52, 40))
    far = [(0.84, 0.655), (1, 0.64), (1, 0.72), (0.92, 0.7)]
    draw.polygon([(x * width, y * height) for x, y in far], fill=(34, 50, 42))
    _draw_boat(draw, width, height)


def _draw_fir(draw: ImageDraw.ImageDraw, x: float, foot: float, tall: float, random: np.random.Generator) -> None:
    for layer in range(9):
        top, wide = foot - tall * (1 - layer * 0.1), tall * (0.04 + 0.022 * layer) * random.uniform(0.85, 1.15)
        green = (22 + 3 * layer, 46 + 4 * layer, 40)
        draw.polygon([(x, top), (x - wide, top + tall * 0.19), (x + wide, top + tall * 0.19)], fill=green)


def _draw_boat(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    def points(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * width, y * height) for x, y in pairs]

    draw.polygon(points((0.52, 0.8), (0.78, 0.8), (0.74, 0.85), (0.56, 0.85)), fill=(160, 52, 36))
    draw.polygon(points((0.52, 0.8), (0.78, 0.8), (0.775, 0.812), (0.526, 0.812)), fill=(240, 222, 190))
    draw.polygon(points((0.56, 0.852), (0.74, 0.852), (0.70, 0.9), (0.6, 0.9)), fill=(84, 44, 50))
    draw.line(points((0.645, 0.8), (0.645, 0.5)), fill=(70, 46, 34), width=width // 200)
    draw.polygon(points((0.652, 0.51), (0.652, 0.775), (0.765, 0.775)), fill=(250, 240, 220))
    draw.polygon(points((0.638, 0.54), (0.638, 0.775), (0.555, 0.775)), fill=(232, 150, 84))


def _mixed(share: Planes, first: tuple[int, ...], second: tuple[int, ...]) -> Planes:
    share = np.clip(share, 0, 1)
    return np.array(first) * (1 - share) + np.array(second) * share


def _over(scene: Planes, colour: tuple[int, ...], cover: Planes) -> Planes:
    return scene + (np.array(colour) - scene) * cover[..., None]


def _noise(height: int, width: int, seed: int, cells: tuple[int, int]) -> Planes:
    """Smooth, 0 to 1, in three octaves; `cells` across and down."""
    random, total = np.random.default_rng(seed), np.zeros((height, width))
    for octave in range(3):
        size = (cells[0] * 2**octave, cells[1] * 2**octave)
        cloud = Image.fromarray((random.random((size[1], size[0])) * 255).astype(np.uint8))
        total += np.asarray(cloud.resize((width, height), Image.Resampling.BICUBIC)) / 255 / 2**octave
    return total / 1.75


def _line(width: int, seed: int) -> Planes:
    """A ridge: smooth, about 0 to 1."""
    return _noise(1, width, seed, (5, 1)).ravel()
