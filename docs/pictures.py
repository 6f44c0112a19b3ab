"""Draws the pictures of the pages anew, by running the code that stands on them.

`python -m docs.pictures` draws all, `python -m docs.pictures operations` those of one page.
"""

from __future__ import annotations

import sys

from docs import pages


def main(names: list[str]) -> int:
    """Runs the pages called `names`, or all, in the folder of the pictures."""
    known = {page.stem: page for page in pages.RUN}
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"There is no page {', '.join(unknown)}: use {', '.join(known)}.")
        return 2
    for name in names or known:
        pages.run(known[name], pages.IMAGES)
        shown = pages.pictures(known[name].read_text())
        print(f"{name}: {', '.join(shown) or 'no pictures'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
