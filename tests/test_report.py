"""The report page: what it holds, what may be added, and that it asks nobody for anything."""

import base64
from html.parser import HTMLParser

import pytest

from jaxcnn import report
from jaxcnn.errors import DataError

PICTURE = b"\x89PNG picture"


class Page(HTMLParser):
    """Counts what is on a page."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.images, self.cells, self.tags = [], [], [], []
        self._in = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._in = tag
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"])

    def handle_data(self, data):
        if self._in in ("h1", "h2"):
            self.headings.append(data.strip())
        elif self._in in ("td", "th"):
            self.cells.append(data.strip())

    def handle_endtag(self, tag):
        self._in = None


def page(**changes):
    given = {
        "result": "It <works> & ends.",
        "met": True,
        "tables": {"Settings": {"rate": 0.1}},
        "pictures": [("A caption", PICTURE)],
    }
    return report.render("A title", **{**given, **changes})


def test_it_holds_everything_and_escapes_it():
    found = Page(page(ledger="layer <x>", grids={"Rows": [{"a": 1, "b": "<"}, {"a": 2, "b": "&"}]}))
    assert found.headings == ["A title", "Rows", "A caption", "Network", "Settings"]
    assert found.cells == ["a", "b", "1", "<", "2", "&", "rate", "0.1"]
    source = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert found.images == [source]
    assert {"script", "link", "iframe"}.isdisjoint(found.tags)


def test_without_a_network_or_rows_there_is_no_empty_section():
    assert Page(page(grids={"Rows": []})).headings == ["A title", "A caption", "Settings"]


def test_pictures_are_added_in_place_of_those_before():
    first = report.add_pictures(page(), [("One", PICTURE), ("Two", PICTURE)])
    second = report.add_pictures(first, [("Three", PICTURE)])
    assert Page(first).headings[-2:] == ["One", "Two"]
    assert Page(second).headings == ["A title", "A caption", "Settings", "Three"]
    assert second.rstrip().endswith("</body>\n</html>")


def test_nothing_is_added_to_another_page():
    with pytest.raises(DataError, match="not one of this version's reports"):
        report.add_pictures("<html></html>", [])


def test_curves_have_a_label_each():
    figure = report.curves(
        {"a": ([1, 2], [3, 4]), "b": ([1], [2])}, x_label="x", y_label="y", log_x=True, log_y=True
    )
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert report.png(figure).startswith(b"\x89PNG")
