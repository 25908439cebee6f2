"""`headwater examples`: lists the example programs that come with the package, and copies them."""

from __future__ import annotations

import ast
import shutil
from importlib import metadata
from pathlib import Path

import headwater


def directory() -> Path:
    """Where the example programs are: in the checkout, or where pip puts a package's data.

    Raises:
        FileNotFoundError: the installation has none.
    """
    beside = Path(headwater.__file__).parent.parent
    places = [beside, beside / "share" / "headwater"]  # the latter for pip install --target
    for file in metadata.files("headwater") or ():
        if file.match("share/headwater/examples/*.py"):
            places.append(Path(str(file.locate())).parent.parent)
            break
    for place in places:
        if (place / "examples" / "network_wordcount.py").exists():
            return place / "examples"
    raise FileNotFoundError("this installation has no examples: install headwater by pip, from a wheel or a checkout")


def summaries() -> dict[str, str]:
    """The name of each example, with the first sentence of what it says of itself."""
    found = {}
    for path in sorted(directory().glob("*.py")):
        found[path.name] = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    return found


def copy(target: Path) -> None:
    """Copy all examples into a directory, which is made.

    Raises:
        FileExistsError: it is there already.
    """
    target.mkdir(parents=True)
    for path in sorted(directory().glob("*.py")):
        shutil.copyfile(path, target / path.name)
