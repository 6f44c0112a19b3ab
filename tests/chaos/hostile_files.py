"""Files made to do harm, each with its reader and words of the error that must come of it.

Everything but `IGNORED` has to be refused. Those of `IGNORED` name modules and paths that no
reader looks at: they are read as if the names were not there.
"""

from tests.chaos import hostile_archives, hostile_data, hostile_texts

HOSTILE = [*hostile_archives.CASES, *hostile_texts.CASES, *hostile_data.CASES]
IGNORED = hostile_data.IGNORED
