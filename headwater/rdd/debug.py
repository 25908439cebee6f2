"""An RDD's lineage as text."""

from __future__ import annotations

from headwater.engine.lineage import Dataset, PerRecord, ShuffleRead


def title(dataset: Dataset) -> str:
    """The operation that made a dataset, its number, and its name if it has one.

    >>> title(sc.parallelize([1]).map(str).setName("texts")).split("[")[0]
    'texts map'
    """
    operator = dataset.operator
    kind = operator.kind if isinstance(operator, PerRecord) else type(operator).__name__
    name = getattr(dataset, "_name", None)
    return f"{name + ' ' if name else ''}{kind}[{dataset.dataset_id}]"


def lineage_text(dataset: Dataset) -> str:
    """A line for each dataset of the lineage: the number of partitions where a stage begins, ` |  ` within it.

    Parents behind a shuffle are indented below ` +-`; a dataset that was shown before is shown without its parents.
    """
    lines: list[str] = []
    shown: set[int] = set()
    # (dataset, indentation of its stage's other lines, what stands before it). A stack, as lineages may be very deep.
    todo: list[tuple[Dataset, str, str]] = [(dataset, "", f"({dataset.num_partitions}) ")]
    while todo:
        node, indent, lead = todo.pop()
        level = node.storage_level
        lines.append(f"{lead}{title(node)}{f' [{level}]' if level is not None else ''}")
        if node.dataset_id in shown:
            continue
        shown.add(node.dataset_id)
        inner = indent + " |  "
        if isinstance(node.operator, ShuffleRead) and node.shuffle is not None:
            parent = node.shuffle.parent
            lead = f" +-({parent.num_partitions}) "
            todo.append((parent, indent + " " * len(lead), indent + lead))
        todo.extend((parent, indent, inner) for parent in reversed(node.parents))
    return "\n".join(lines)
