"""Reading files that anyone may have made. Every reader of jaxcnn opens its files through here.

- `files`: a file's bytes, if it is a plain file of an allowed size
- `text`: JSON, of bounded size and depth, each key once
- `arrays`: NumPy's `.npy` and `.npz`, without code, compression or memory the file lacks

What a file says of itself is held against its real size before anything is allocated. Failures
are of the class that the caller names, and state the file, what was found and what is allowed.
"""

from jaxcnn.untrusted.arrays import parse_npy, parse_npz
from jaxcnn.untrusted.files import open_plain, read_bytes
from jaxcnn.untrusted.text import field, parse_json, read_json, read_text

__all__ = [
    "field",
    "open_plain",
    "parse_json",
    "parse_npy",
    "parse_npz",
    "read_bytes",
    "read_json",
    "read_text",
]
