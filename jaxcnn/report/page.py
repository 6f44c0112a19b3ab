"""The report of a run: one HTML file that holds its pictures and needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcnn.errors import DataError

_LATER = "<!-- added later -->"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; margin-bottom: 0; }}
h2 {{ font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }}
.result {{ font-size: 1.1rem; padding: .7rem 1rem; border-left: 5px solid {color};
          background: #f6f6f6; }}
img {{ max-width: 100%; display: block; margin: 1rem 0; }}
table {{ border-collapse: collapse; font-size: .9rem; }}
td, th {{ padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top; }}
th {{ font-weight: 600; }}
pre {{ background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .82rem;
      line-height: 1.35; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #181818; }}
  .result, pre {{ background: #242424; }}
  img {{ background: #fff; }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<!-- added later -->
</body>
</html>
"""


def render(
    title: str,
    *,
    result: str,
    met: bool | None,
    tables: Mapping[str, Mapping[str, Any]],
    pictures: Sequence[tuple[str, bytes]],
    ledger: str = "",
    grids: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """Makes the page.

    Args:
      title: heading.
      result: one sentence, shown first.
      met: whether the expected figure was met; None if there is none.
      tables: heading -> rows of name and value.
      pictures: caption and PNG content of each.
      ledger: the network's table, if there is one.
      grids: heading -> rows of the same columns, shown before the pictures.
    """
    color = {True: "#2e7d32", False: "#b00020", None: "#888888"}[met]
    parts = [f'<p class="result">{html.escape(result)}</p>']
    for heading, lines in (grids or {}).items():
        if lines:
            parts.append(f"<h2>{html.escape(heading)}</h2>{_grid(lines)}")
    parts += [_figure(caption, content) for caption, content in pictures]
    if ledger:
        parts.append(f"<h2>Network</h2><pre>{html.escape(ledger)}</pre>")
    for heading, rows in tables.items():
        cells = "".join(
            f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        parts.append(f"<h2>{html.escape(heading)}</h2><table>{cells}</table>")
    return _PAGE.format(title=html.escape(title), color=color, body="\n".join(parts))


def add_pictures(page: str, pictures: Sequence[tuple[str, bytes]]) -> str:
    """A page of `render` with pictures at its end, in place of those added before.

    Args:
      page: what `render` or this function returned.
      pictures: caption and PNG content of each.

    Raises:
      DataError: it is no such page.
    """
    if page.count(_LATER) != 1 or not page.rstrip().endswith("</html>"):
        raise DataError("the page is not one of this version's reports: nothing was added to it.")
    figures = "\n".join(_figure(caption, content) for caption, content in pictures)
    return page[: page.index(_LATER)] + f"{_LATER}\n{figures}\n</body>\n</html>\n"


def _figure(caption: str, content: bytes) -> str:
    data = base64.b64encode(content).decode()
    alt = html.escape(caption, quote=True)
    return f'<h2>{html.escape(caption)}</h2>\n<img alt="{alt}" src="data:image/png;base64,{data}">'


def _grid(lines: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in lines[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in line.values()) + "</tr>"
        for line in lines
    )
    return f"<table><tr>{head}</tr>{body}</table>"
