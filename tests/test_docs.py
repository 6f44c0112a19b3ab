"""What the pages show is what happens, and their links lead somewhere."""

from __future__ import annotations

import doctest
import re

import pytest

from docs import markdown, pages, pictures

ALL = sorted(pages.FOLDER.rglob("*.md"))
MOST_BYTES = 60_000  # of a picture

relative = {page: str(page.relative_to(pages.FOLDER)) for page in ALL}
each_page = pytest.mark.parametrize("page", ALL, ids=relative.get)
LONG = ("deep-networks",)
"""Pages whose networks take half a minute to compile."""
each_page_that_runs = pytest.mark.parametrize("page", pages.RUN, ids=relative.get)


def check_printed(page, block, got):
    compare, flags = doctest.OutputChecker(), doctest.NORMALIZE_WHITESPACE
    if not compare.check_output(block.printed, got, flags):
        shown = doctest.Example(block.code, block.printed)
        pytest.fail(f"{page.name}:{block.line}\n{compare.output_difference(shown, got, flags)}")


def test_there_is_a_page_for_each_deck():
    titles = [page.read_text().partition("\n")[0] for page in pages.RUN]
    assert sorted(title.split(":")[0] for title in titles) == [f"# Deck {d}" for d in "ABCDE"]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page.stem in LONG), id=relative[page])
        for page in pages.RUN
    ],
)
def test_the_code_runs_prints_what_is_shown_and_draws_the_pictures(page, tmp_path):
    done = pages.run(page, tmp_path)
    assert len(done) > 5
    for block, got in done:
        check_printed(page, block, got)
    drawn = {file.name for file in tmp_path.iterdir()}
    shown = pages.pictures(page.read_text())
    assert drawn == {name.removeprefix("../images/") for name in shown}


@each_page
def test_all_code_compiles(page):
    for block in pages.blocks(page.read_text()):
        compile(block.code, page.name, "exec")


@each_page_that_runs
def test_every_text_block_belongs_to_code(page):
    """Otherwise a misplaced one would be taken for prose and compared with nothing."""
    shown = page.read_text().count("```text\n")
    assert shown == sum(bool(block.printed) for block in pages.blocks(page.read_text()))


@each_page
def test_links_and_pictures_stay_inside_the_site(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        assert path.is_relative_to(pages.FOLDER.resolve()), target
        assert path.is_file(), target


@pytest.mark.parametrize("picture", sorted(pages.IMAGES.iterdir()), ids=lambda path: path.name)
def test_pictures_are_small(picture):
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < MOST_BYTES


def test_no_picture_is_left_over():
    root = pages.FOLDER.parent
    texts = [page.read_text() for page in [*ALL, root / "README.md"]]
    shown = {name.rpartition("/")[2] for text in texts for name in pages.pictures(text)}
    assert shown == {path.name for path in pages.IMAGES.iterdir()}


def test_a_block_that_prints_something_else_is_found_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    ((block, got),) = pages.run(page, tmp_path)
    assert (block.line, got) == (4, "2\n")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)page\.md:4.*Expected:\s+3.*Got:\s+2"):
        check_printed(page, block, got)


def test_an_error_names_the_line_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nx = 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        pages.run(page, tmp_path)
    assert (caught.traceback[-1].path.name, caught.traceback[-1].lineno + 1) == ("page.md", 5)


def test_the_pictures_of_an_unknown_page(capsys):
    assert pictures.main(["no_such_page"]) == 2
    assert "There is no page no_such_page: use" in capsys.readouterr().out


def test_docstrings_become_markdown():
    docstring = """One line.

Decisions:
- first
  goes on
- second

    >>> 1 + 1
    2

Args:
  x: a number.
"""
    assert (
        markdown.readable(docstring)
        == """One line.

Decisions:

- first
  goes on
- second

    ```pycon
    >>> 1 + 1
    2
    ```

Args:
  x: a number.
"""
    )


def test_an_example_at_the_end_of_a_docstring_is_closed():
    assert markdown.readable("Sum.\n>>> 1 + 1\n2") == "Sum.\n\n```pycon\n>>> 1 + 1\n2\n```"


def test_every_page_is_in_the_menu():
    menu = (pages.FOLDER.parent / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"[\w/-]+\.md", menu)
    assert sorted(listed) == sorted(str(page.relative_to(pages.FOLDER)) for page in ALL)
