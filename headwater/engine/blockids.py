"""The ids of blocks, made and read here alone; docs/formats/block.md lists them.

An id is also the name of the block's file, so it has no slash. A prefix names blocks that go together.
"""

from __future__ import annotations


def received(stream_id: int, *, time_ms: int) -> str:
    """A block that a stream has received; no two of a stream have one time."""
    return f"input-{stream_id}-{time_ms}"


def time_ms_of(received_id: str) -> int:
    """The time in a received block's id."""
    return int(received_id.rpartition("-")[2])


def cached(dataset_id: int, *, partition: int) -> str:
    """A stored partition of a dataset."""
    return f"{cached_prefix(dataset_id)}{partition}"


def cached_prefix(dataset_id: int) -> str:
    """How the ids of a dataset's stored partitions begin."""
    return f"rdd_{dataset_id}_"


def partition_of(cached_id: str) -> tuple[int, int]:
    """(dataset id, partition) in a stored partition's id."""
    _, dataset_id, partition = cached_id.split("_")
    return int(dataset_id), int(partition)


def shuffle_prefix(shuffle_id: int) -> str:
    """How the ids of all of a shuffle's blocks begin."""
    return f"shuffle_{shuffle_id}_"


def map_output_prefix(shuffle_id: int, *, partition: int, task_id: int) -> str:
    """How the ids of the blocks begin that one map task writes; their number follows."""
    return f"{shuffle_prefix(shuffle_id)}{partition}_{task_id}_"


def broadcast(broadcast_id: int) -> str:
    """A broadcast's pickled value."""
    return f"broadcast_{broadcast_id}"


def family(id_or_prefix: str) -> str:
    """What a block is a part of: `rdd_3_` of rdd_3_17, `shuffle_2_` of shuffle_2_0_5_0."""
    kind, _, rest = id_or_prefix.partition("_")
    return f"{kind}_{rest.partition('_')[0]}_"
