from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from tests.support import pictures
from tests.support.examples import examples
from workflows import generators, images
from workflows.generators import PROMPT_VERSIONS, prompt
from workflows.generators.local import LOOKS, MAX_SIDE, LocalGenerator

pytestmark = pytest.mark.any_database


def drawn(picture: Image.Image, version: str = "v1") -> Image.Image:
    data = LocalGenerator().generate(images.encode_work(picture), version, lambda _: None)
    return images.decode(BytesIO(data), max_pixels=10_000_000, max_side=4096)


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(float) - np.asarray(other).astype(float)).mean())


def test_there_is_a_look_for_every_prompt_and_a_prompt_for_every_look() -> None:
    assert set(LOOKS) == set(PROMPT_VERSIONS)
    files = Path(generators.__file__).parent.parent.joinpath("prompts").glob("*.txt")
    assert {path.stem for path in files} == set(PROMPT_VERSIONS)


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_a_prompt_says_something(version: str) -> None:
    assert len(prompt(version).split()) > 20


def test_an_unknown_version_is_refused_before_any_work() -> None:
    reported: list[float] = []

    with pytest.raises(KeyError):
        LocalGenerator().generate(images.encode_work(pictures.quarters()), "v999", reported.append)
    with pytest.raises(KeyError):
        prompt("../v1")

    assert reported == []


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
@pytest.mark.parametrize("name", pictures.kinds())
def test_every_kind_of_picture_is_drawn_in_its_size(name: str, version: str) -> None:
    picture = pictures.kinds()[name]
    picture.thumbnail((200, 200))

    assert drawn(picture, version).size == picture.size


@given(width=st.integers(1, 90), height=st.integers(1, 90), version=st.sampled_from(PROMPT_VERSIONS))
@settings(max_examples=examples(60), deadline=None)
def test_any_small_size_can_be_drawn(width: int, height: int, version: str) -> None:
    assert drawn(pictures.quarters(96, 96).crop((0, 0, width, height)), version).size == (width, height)


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
@pytest.mark.parametrize("size", [(1, 2048), (2048, 1), (2048, 40)])
def test_panoramas_can_be_drawn(size: tuple[int, int], version: str) -> None:
    assert drawn(Image.new("RGB", size, pictures.BLUE), version).size == size


def test_the_looks_differ_from_each_other_and_from_the_photo() -> None:
    picture = pictures.landscape()
    looks = [drawn(picture, version) for version in PROMPT_VERSIONS]

    for index, look in enumerate(looks):
        assert difference(look, picture) > 8
        assert all(difference(look, other) > 8 for other in looks[index + 1 :])


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_the_scene_can_still_be_recognised(version: str) -> None:
    picture = pictures.landscape()
    before, after = (
        np.asarray(image.convert("L").resize((24, 16)), np.float64).ravel()
        for image in (picture, drawn(picture, version))
    )

    assert np.corrcoef(before, after)[0, 1] > 0.6


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_text_stays_dark_on_light_paper(version: str) -> None:
    page = pictures.page_of_text()
    letters = np.asarray(page.convert("L")) < 60
    tones = np.asarray(drawn(page, version).convert("L")).astype(float)

    assert tones[~letters].mean() > 195
    assert tones[letters].mean() < tones[~letters].mean() - 50


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_letters_of_thin_strokes_can_be_read(version: str) -> None:
    page = Image.new("RGB", (1200, 800), "white")
    for row, size in enumerate((18, 22, 26, 34)):
        text = "The pictures came out better than I feared."
        ImageDraw.Draw(page).text((120, 150 + 100 * row), text, "black", ImageFont.load_default(size))
    before, after = (np.asarray(image.convert("L"), np.float64).ravel() for image in (page, drawn(page, version)))

    assert np.corrcoef(before, after)[0, 1] > 0.75


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_white_stays_clean_paper(version: str) -> None:
    page = drawn(Image.new("RGB", (600, 400), "white"), version)
    patches = np.asarray(page.convert("L").reduce(20), np.float64)

    assert patches.min() > 225
    assert np.ptp(patches) < 15


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_noise_draws_no_lines(version: str) -> None:
    noise = np.random.default_rng(1).normal(150, 8, (300, 400, 3))
    tones = np.asarray(drawn(Image.fromarray(noise.astype(np.uint8)), version).convert("L"))

    assert (tones[30:-30, 30:-30] < 60).mean() < 0.01


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_progress_is_reported_often_and_never_goes_back(version: str) -> None:
    reported: list[float] = []

    LocalGenerator().generate(images.encode_work(pictures.quarters()), version, reported.append)

    assert len(reported) >= 8
    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == (0, 1)


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_what_report_raises_stops_the_work(version: str) -> None:
    class Stopped(Exception):
        pass

    reported: list[float] = []

    def report(fraction: float) -> None:
        reported.append(fraction)
        if fraction >= 0.25:
            raise Stopped

    with pytest.raises(Stopped):
        LocalGenerator().generate(images.encode_work(pictures.quarters()), version, report)
    assert reported[-1] < 0.4


def test_a_large_picture_is_drawn_at_the_working_size() -> None:
    image = drawn(Image.new("RGB", (MAX_SIDE + 600, 200), pictures.GREEN))

    assert max(image.size) == MAX_SIDE
