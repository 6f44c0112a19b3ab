"""Shows mkdocstrings the package as users see it. Loaded by mkdocs.yml."""

from __future__ import annotations

from typing import Any

import griffe

from docs.markdown import readable


class AsUsed(griffe.Extension):
    """Docstrings as Markdown, and functions that are called as the file they stand in."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        for module in _files(pkg).values():  # the pages name the files of `jaxcnn` itself
            _uncover(module)


def _uncover(module: griffe.Module) -> None:
    """Puts what `module` exports where griffe, which runs nothing, sees a file of that name.

    After `from jaxcnn.models.alexnet import alexnet` the name means the function.
    """
    for name, file in _files(module).items():
        _uncover(file)
        source = module.imports.get(name, "")
        if name in map(str, module.exports or ()) and source.startswith(f"{file.path}."):
            found = file[source.removeprefix(f"{file.path}.")]
            module.members[name] = griffe.Alias(name, target=found, parent=module)


def _files(module: griffe.Module) -> dict[str, griffe.Module]:
    """The modules inside `module`, without those that it imports."""
    return {name: inner for name, inner in module.modules.items() if not inner.is_alias}
