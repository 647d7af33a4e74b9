"""The guard of all tests of the page can fail: a page that complains, asks or breaks rules does not pass."""

from pathlib import Path

import pytest
from helpers.browsers import violations, watched

HEAD, BODY = "<!doctype html><html lang=en><title>t</title>", "<main><h1>Title</h1><p>text</p></main>"
IMAGE = "<img alt=x src={0}>"


def written(folder: Path, more: str) -> Path:
    path = folder / "page.html"
    path.write_text(HEAD + more + BODY, encoding="utf-8")
    return path


def test_a_quiet_page_passes(browser, tmp_path):
    beside = tmp_path / "beside.svg"
    beside.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    with watched(browser, written(tmp_path, IMAGE.format("beside.svg") + "<script>console.log(1)</script>")) as page:
        assert page.title() == "t"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("<script>console.error('broken')</script>", "error: broken"),
        ("<script>console.warn('doubt')</script>", "warning: doubt"),
        ("<script>setTimeout(() => { throw new Error('thrown') })</script>", "error: thrown"),
        (IMAGE.format("http://127.0.0.1:9/x.png"), "request: http://127.0.0.1:9/x.png"),
        (IMAGE.format("file:///etc/hostname"), "request: file:///etc/hostname"),
        ("<script>setTimeout(() => alert('hello'))</script>", "dialog: hello"),
        ("<script>window.hacked = 1</script>", "run as a script"),
        ("<meta http-equiv=Content-Security-Policy content=\"img-src 'none'\">" + IMAGE.format("data:,x"), "violates"),
    ],
)
def test_a_page_that_does_what_it_must_not_fails(browser, tmp_path, more, said):
    with pytest.raises(AssertionError, match=said):
        with watched(browser, written(tmp_path, more)) as page:
            page.wait_for_timeout(50)


def test_axe_finds_a_picture_without_a_text(browser, tmp_path, axe):
    with watched(
        browser, written(tmp_path, "<img src=data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=>")
    ) as page:
        assert any(one.startswith("image-alt") for one in violations(page, axe))
    with watched(browser, written(tmp_path, "")) as page:
        assert violations(page, axe) == []
