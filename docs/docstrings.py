"""Lets mkdocstrings read docstrings as `docs.markdown` does. Loaded by mkdocs.yml."""

from __future__ import annotations

from typing import Any

import griffe

from docs.markdown import readable


class Readable(griffe.Extension):
    """Fences examples and sets lists apart in every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
