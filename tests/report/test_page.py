"""The page to listen to, in a headless browser."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from quarkaudio_jax.cli import compare
from quarkaudio_jax.io import audio
from quarkaudio_jax.report.page import Clip, write_page
from quarkaudio_jax.report.pictures import spectrogram_jpeg
from tests.evaluation.sets import RATE, talk

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--autoplay-policy=no-user-gesture-required"]


def track(name, pitch, seconds=2.0):
    return name, lambda: (talk(seconds, pitch), RATE)


LONG = 8.0
"""Seconds; a busy machine may be slow to look."""

CLIPS = [
    Clip(
        "speech/one",
        [track("input", 100, LONG), track("output", 150, LONG), track("target", 200, LONG)],
        {"pesq": 1.5, "stoi": 0.9},
    ),
    Clip(
        "speech/two", [track("input", 120), track("output", 130, 1.0)], {"pesq": 3.0, "stoi": 0.7, "understood": "<b>"}
    ),
    Clip("music/three</script>", [track("input", 300), track("output", 310)], {"pesq": float("nan"), "stoi": 0.8}),
]


class TestInABrowser:
    @pytest.fixture(scope="class")
    def browser(self):
        if CHROMIUM is None:
            pytest.skip("no Chromium is installed")
        playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            yield browser
            browser.close()

    @pytest.fixture
    def page(self, browser, tmp_path):
        path = write_page(tmp_path, "a <test> & more", CLIPS)
        page, errors = browser.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: errors.append(request.url[:80]))
        page.goto(path.as_uri())
        yield page
        page.close()
        assert not errors

    @staticmethod
    def names(page):
        return page.locator("section h2").all_text_contents()

    def test_it_shows_everything(self, page):
        assert page.title() == "a <test> & more" == page.locator("h1").text_content()
        assert self.names(page) == [clip.name for clip in CLIPS]
        assert "pesq 1.5" in page.locator("section").nth(0).text_content()
        assert "understood: <b>" in page.locator("section").nth(1).text_content()
        widths = "[...document.images].map(i => (i.loading = 'eager', i.decode().then(() => i.naturalWidth)))"
        sizes = page.evaluate(f"Promise.all({widths})")
        assert sizes == [600] * 7

    def test_it_plays_and_switches_at_the_same_instant(self, page):
        page.keyboard.press(" ")
        page.wait_for_function("listening.playing && listening.position > 0.2")
        page.keyboard.press("2")
        state = page.evaluate("listening")
        assert state["track"] == "output" and state["file"] == "speech/one" and 0.2 < state["position"] < LONG
        gains = page.evaluate("new Promise(r => setTimeout(() => r(current.nodes.map(n => n.gain.gain.value)), 100))")
        assert gains[1] > 0.99 and max(gains[0], gains[2]) < 0.01
        moved = page.evaluate("document.querySelector('section.current .cursor').style.left")
        assert float(moved.rstrip("%")) >= 100 * 0.2 / LONG
        page.keyboard.press(" ")
        state = page.evaluate("listening")
        assert not state["playing"]
        page.keyboard.press("ArrowRight")
        assert page.evaluate("listening.position") == pytest.approx(min(state["position"] + 1, LONG), abs=0.01)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("listening.file") == "speech/two"
        page.keyboard.press("ArrowUp")
        page.locator("section").nth(1).locator("button", has_text="2 output").first.click()
        page.wait_for_function("listening.playing && listening.file === 'speech/two' && listening.track === 'output'")
        page.wait_for_function("!listening.playing", timeout=20_000)  # to its end, which rewinds it
        assert page.evaluate("[listening.position, listening.duration, listening.error]") == [0, 2, None]

    def test_a_click_into_a_picture_goes_there(self, page):
        box = page.locator("section").nth(0).locator(".picture").nth(2).bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 20)
        page.wait_for_function("listening.playing")
        state = page.evaluate("listening")
        assert state["track"] == "target" and 0.49 * LONG < state["position"] < LONG

    def test_what_is_heard_is_what_was_written(self, page):
        page.keyboard.press(" ")
        page.wait_for_function("listening.playing")
        heard = page.evaluate("[current.buffers[1].sampleRate, current.buffers[1].duration]")
        samples = np.array(page.evaluate("[...current.buffers[1].getChannelData(0).slice(0, 4800)]"))
        assert heard[1] == pytest.approx(LONG, abs=1e-3)
        wave = talk(LONG, 150)
        expected = np.interp(np.arange(4800) / heard[0], np.arange(len(wave)) / RATE, wave)
        assert np.abs(samples - expected).max() < 0.05

    def test_sorting_and_filtering(self, page):
        page.select_option("#sort", "pesq|up")
        assert self.names(page) == ["speech/one", "speech/two", "music/three</script>"]  # what has no value comes last
        page.select_option("#sort", "stoi|down")
        assert self.names(page) == ["speech/one", "music/three</script>", "speech/two"]
        page.fill("#filter", "SPEECH pesq>=2")
        assert self.names(page) == ["speech/two"] and page.locator("#count").text_content() == "1 of 3"
        page.fill("#filter", "stoi<0.85")
        assert self.names(page) == ["music/three</script>", "speech/two"]

    def test_blind(self, page):
        page.keyboard.press("b")
        first = page.locator("section").nth(0)
        labels = first.locator(".track > button:first-child").all_text_contents()
        assert labels == ["1  A", "2  B", "3  C"]
        assert not first.locator("img").nth(0).is_visible() and not first.locator(".values").is_visible()
        for clip in (0, 1):
            page.locator("section").nth(clip).locator(".prefer").nth(1).click()
        page.click("#reveal")
        told = page.locator("#status").text_content()
        votes = page.evaluate("listening.votes")
        assert set(votes) == {"speech/one", "speech/two"} and told.startswith("preferred: ")
        assert all(name in told for name in votes.values())
        assert first.locator(".track > button:first-child").all_text_contents() == [
            "1  input",
            "2  output",
            "3  target",
        ]

    def test_it_fits_a_phone(self, page):
        page.set_viewport_size({"width": 360, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator(".picture").nth(0).bounding_box()["width"] > 300


def test_files_and_folders_are_compared(tmp_path, capsys):
    for folder, names in (("one", ("a", "b")), ("other/deep", ("b", "c"))):
        for name in names:
            audio.write(tmp_path / folder / f"{name}.wav", talk(0.5), RATE)

    def page(*inputs):
        compare.main(["quarkaudio compare", *map(str, inputs), f"--output={tmp_path / 'page'}", "--overwrite"])
        path = pathlib.Path(capsys.readouterr().out.strip())
        text = path.read_text().split('<script id="data" type="application/json">')[1].split("</script>")[0]
        return [(c["name"], [t["name"] for t in c["tracks"]]) for c in json.loads(text)["clips"]]

    one, other = tmp_path / "one", tmp_path / "other" / "deep"
    assert page(one / "a.wav", other / "c.wav") == [("a.wav | c.wav", ["one/a.wav", "other/deep/c.wav"])]
    assert page(one, other) == [("b", ["one", "other/deep"])]
    with pytest.raises(SystemExit, match="have no file name in common"):
        (tmp_path / "empty").mkdir()
        page(one, tmp_path / "empty")
    with pytest.raises(SystemExit, match="give files, or folders, that exist"):
        page(one / "a.wav", tmp_path / "none.wav")


def clips_of(path):
    text = path.read_text("utf-8").split('<script id="data" type="application/json">')[1].split("</script>")[0]
    return json.loads(text)["clips"]


def test_a_title_of_any_words(tmp_path):
    clip = Clip("TITLE DATA", [track("DATA", 100, 0.2)])
    text = write_page(tmp_path, "DATA/TITLE: <DATA>", [clip]).read_text("utf-8")
    assert text.count("<title>DATA/TITLE: &lt;DATA&gt;</title>") == 1
    assert [c["name"] for c in clips_of(tmp_path / "index.html")] == ["TITLE DATA"]


def test_a_file_that_can_t_be_read_is_left_out_of_a_comparison(tmp_path, capsys):
    for folder in ("one", "other"):
        for name in ("a.wav", "b.wav", "song.wav", "song.flac", f"x{chr(0xDCFF)}.wav"):
            audio.write(tmp_path / folder / name, talk(0.3), RATE)
    (tmp_path / "other" / "b.wav").write_bytes(b"RIFF")
    given = ["quarkaudio compare", str(tmp_path / "one"), str(tmp_path / "other"), f"--output={tmp_path / 'page'}"]
    with pytest.raises(SystemExit, match=r"^error: .*other/b.wav: .*truncated"):
        compare.main(given)
    names = [c["name"] for c in clips_of(tmp_path / "page" / "index.html")]
    assert names == ["a", "song.flac", "song.wav", r"x\udcff"]
    with pytest.raises(SystemExit, match=r"index.html exists already: --overwrite replaces it"):
        compare.main(given)
    with pytest.raises(SystemExit, match=r"^error: .*b.wav: .*truncated"):
        compare.main(
            [*given[:1], *(str(tmp_path / f / "b.wav") for f in ("one", "other")), f"--output={tmp_path / 'p'}"]
        )
    assert not (tmp_path / "p" / "index.html").exists()


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 200.0])
def test_spectrograms_of_any_length(seconds):
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(spectrogram_jpeg(talk(seconds, 2000), RATE, 600, 130)))
    assert picture.size == (600, 130)
    if seconds >= 1:  # 2 kHz of 8: a quarter of the way up
        brightness = np.asarray(picture.convert("L"), float)[:, 300]
        assert abs(np.argmax(brightness) - 130 * 0.75) < 4
