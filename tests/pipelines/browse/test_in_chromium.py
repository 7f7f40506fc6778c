"""The pages in a real browser: Debian's chromium, or any other that is installed here."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pipelines.graph.journal import FOLDER, Code, keep_run
from pipelines.graph.objects import Objects
from pipelines.graph.result import Ending, Result
from pipelines.graph.revisions import read_revision
from pipelines.look.layers import Catalogue
from pipelines.review.marks import Marks
from stages.engine.progress import announced
from stages.io.pictures import label_layer
from tests.pipelines.album import IMAGES, labels_of, make_album
from tests.pipelines.page import serving

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
PAGES = (
    "/",
    "/?rev=HEAD~1",
    "/stage?name=crf_refine@a2gnn",
    "/stage?name=train",
    "/stage?name=dataset",
    f"/image?id={IMAGES[0]}",
    "/compare",
    "/review",
)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium: apt-get install chromium")


@dataclass
class Site:
    """A served album."""

    root: Path
    address: str
    commits: list[str]


@dataclass
class Tab:
    """A page of the browser, and what it complained of."""

    page: Page
    site: Site
    errors: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Load a page with all it fetches."""
        self.page.goto(self.site.address + path)
        self.page.wait_for_load_state("networkidle")
        return self.page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("album") / "repository"
    repository, commits = make_album(root)
    with serving(root) as served:
        yield Site(repository.root, served.address, commits)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=PROGRAM, args=QUIET)
        yield launched
        launched.close()


@pytest.fixture
def tab(browser: Browser, site: Site) -> Iterator[Tab]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    made = Tab(page, site)
    page.on("pageerror", lambda error: made.errors.append(str(error)))
    page.on(
        "console",
        lambda said: made.errors.append(said.text) if said.type in ("error", "warning") else None,
    )
    yield made
    page.close()
    assert made.errors == []


@pytest.mark.parametrize("width", [1280, 400])
def test_every_page_loads_without_a_complaint_and_fits(tab: Tab, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 900})
    for path in PAGES:
        page = tab.go(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        broken = page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == [], path
        assert page.title() != "broken"


def test_a_known_mask_is_seen_pixel_for_pixel(tab: Tab) -> None:
    page = tab.go("/stage?name=crf_refine@a2gnn")
    seen = page.evaluate(
        """() => {
            const image = document.querySelectorAll("img.over")[7];
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.height, canvas.width, [...data]];
        }"""
    )
    found = np.array(seen[2], dtype=np.uint8).reshape(seen[0], seen[1], 4)
    colours = Catalogue(Objects(tab.site.root), read_revision(tab.site.root)).colours
    expected = label_layer(labels_of(7, 1), colours)
    np.testing.assert_array_equal(found, expected)


def test_the_slider_sets_how_much_is_seen_of_the_labels_and_is_remembered(tab: Tab) -> None:
    page = tab.go("/stage?name=crf_refine@a2gnn")
    opacity = "getComputedStyle(document.querySelector('img.over')).opacity"
    assert page.evaluate(opacity) == "0.6"
    page.locator("#opacity").fill("100")
    assert page.evaluate(opacity) == "1"
    tab.go(f"/image?id={IMAGES[0]}")
    assert page.evaluate(opacity) == "1"


def test_arrow_keys_turn_pages_and_images(tab: Tab) -> None:
    page = tab.go(f"/image?id={IMAGES[0]}")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/image?id={IMAGES[1]}")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/image?id={IMAGES[0]}")
    tab.go("/stage?name=crf_refine@a2gnn")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**page=2")
    assert page.locator(".tile").count() == 10


def test_the_graph_tells_what_a_run_would_do(tab: Tab) -> None:
    page = tab.go("/")
    page.wait_for_selector(".state.must-run")
    assert page.locator(".card").count() == 7
    page.locator(".card", has_text="crf_refine").locator("a").first.click()
    page.wait_for_url("**/stage?name=crf_refine%40a2gnn")


def test_what_runs_and_what_failed_is_seen_as_it_happens(
    tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tab.site.root
    monkeypatch.chdir(root)
    tail = ("<b>out</b> of memory",)
    with announced("graph_build"):
        page = tab.go("/")
        page.wait_for_selector(".card.running .dot.running[data-stage=graph_build]")
        assert page.locator("#running").inner_text() == "graph_build running"
        page.locator(".card", has_text="classifier_infer").locator("a").focus()
        page.evaluate("document.querySelector('#stages').dataset.old = 'yes'")
    keep_run(
        root, Result("graph_build", Ending.FAILED, 3, "exit code 1", tail), (), Code(None, False)
    )
    page.wait_for_selector(".card.failed .dot.failed[data-stage=graph_build]")
    page.wait_for_selector(".state.failed[data-state=graph_build]")
    assert page.locator("#running").inner_text() == ""
    assert page.locator("#stages[data-old]").count() == 0, "the numbers are fetched anew"
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    assert focused == "/stage?name=classifier_infer", "the keyboard stays where it was"
    page.keyboard.press("Enter")
    page.wait_for_url("**/stage?name=classifier_infer")
    page = tab.go("/stage?name=graph_build")
    assert "exit code 1" in page.locator(".notice.failed").inner_text()
    assert page.locator(".notice.failed pre").inner_text() == tail[0]
    (root / FOLDER / "graph_build.jsonl").unlink()


def test_the_graph_has_a_legend_of_every_colour_in_it(tab: Tab) -> None:
    page = tab.go("/")
    page.wait_for_selector(".state.must-run")
    named = page.locator(".states b").all_inner_texts()
    shown = page.evaluate(
        "[...document.querySelectorAll('.dot[data-stage]')].map(d => d.className.baseVal.slice(4))"
    )
    assert {text.replace(" ", "-") for text in named} >= set(shown)


def test_the_review_frames_the_boxes_and_b_takes_the_frames_away(tab: Tab) -> None:
    page = tab.go("/review")
    page.wait_for_selector("body[data-ready]")
    row = page.locator(".row:not(.head)").first
    assert row.locator("svg.boxes").count() == 2, "over the labels and over the photograph"
    worst = row.locator(".worst").first
    assert [worst.get_attribute(name) for name in ("x", "y", "width", "height")] == [
        "3", "4", "11", "11"
    ]  # fmt: skip
    photograph, frame = row.locator(".picture").first.bounding_box(), worst.bounding_box()
    assert photograph is not None
    assert frame is not None
    assert frame["x"] - photograph["x"] == pytest.approx(3 / 32 * photograph["width"], abs=5)
    assert frame["height"] == pytest.approx(11 / 24 * photograph["height"], abs=9)
    assert "worst box: <b>cat</b>" in row.inner_text()
    page.keyboard.press("b")
    assert worst.is_hidden()
    page.keyboard.press("b")
    assert worst.is_visible()


def test_a_click_on_a_graph_asks_for_the_affinities_there(tab: Tab) -> None:
    page = tab.go(f"/image?id={IMAGES[0]}")
    picture = page.locator(".tile.is-graphs .picture")
    box = picture.bounding_box()
    assert box is not None
    with page.expect_response(lambda answer: "&x=" in answer.url) as answer:
        picture.click(position={"x": box["width"] * 0.515, "y": box["height"] * 0.77})
    assert "x=16" in answer.value.url
    assert "y=18" in answer.value.url
    assert answer.value.ok


def test_f_flickers_between_the_two_revisions(tab: Tab) -> None:
    page = tab.go("/compare")
    page.wait_for_selector("body[data-ready]")
    after = page.locator(".row .second").first
    second, first = after.locator(".over").nth(0), after.locator(".first")
    assert second.is_visible()
    assert first.is_hidden()
    page.keyboard.press("f")
    assert first.is_visible()
    assert second.evaluate("node => getComputedStyle(node).visibility") == "hidden"
    page.keyboard.press("f")
    assert first.is_hidden()


def test_a_link_opens_the_same_view(tab: Tab, browser: Browser) -> None:
    page = tab.go(f"/compare?first={tab.site.commits[0]}&second={tab.site.commits[1]}")
    page.wait_for_selector("body[data-ready]")
    page.locator("#sort").select_option("pixels")
    page.keyboard.press("ArrowRight")
    rows = ".row:not(.head) .facts a"
    page.locator("main").click(position={"x": 5, "y": 5})
    page.keyboard.press("ArrowRight")
    expected = page.locator(rows).all_text_contents()
    assert page.locator(".pager").text_content() == "← page 2 of 2 →"
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector("body[data-ready]")
    assert other.locator(rows).all_text_contents() == expected
    assert other.locator("#sort").input_value() == "pixels"
    other.close()


def test_keys_mark_images_in_the_review(tab: Tab) -> None:
    page = tab.go("/review")
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("j")
    chosen = page.locator(".row.there").get_attribute("data-id")
    assert chosen is not None
    with page.expect_response("**/review/mark"):
        page.keyboard.press("3")
    assert Marks(tab.site.root).read()[chosen].verdict == "to-correct"
    assert page.locator(".row.there").get_attribute("data-id") != chosen, "on to the next"
    tab.go("/review")
    page.wait_for_selector("body[data-ready]")
    pressed = page.locator(f"[data-id={chosen}] button.here")
    assert pressed.text_content() == "to correct"
    with page.expect_response("**/review/mark"):
        pressed.click()
    assert Marks(tab.site.root).read() == {}


def test_the_scores_of_one_class_can_be_chosen(tab: Tab) -> None:
    page = tab.go("/stage?name=classifier_infer")
    over = page.locator(".is-score_maps .over").first
    with page.expect_response(lambda answer: "category=1" in answer.url) as answer:
        page.locator("#category").select_option("1")
    assert answer.value.ok
    assert "category=1" in (over.get_attribute("src") or "")
