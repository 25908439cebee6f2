"""Keyed state: versions of a map per partition, each made from the previous one by what a batch changes.

- `entries` are what the map holds, a `view` is one version to read, and a `partition` is the latest one with the way
  to the next; on disk it is a `spilledmap`. `live` holds the partitions of a worker, and the `operators` use them.
- A version is stored as `segments`, in `files`: its changes in a file of its own, upon older ones. Any worker can go
  on from them. A segment is named in the task's reply and never written again; the driver removes it.
"""

from headwater.engine.states.entries import GONE, Frozen, freeze, same, thaw
from headwater.engine.states.live import LiveStates, StateDescription
from headwater.engine.states.operators import Entries, Evolve, Reach, StoredState
from headwater.engine.states.partition import StatePartition
from headwater.engine.states.view import Evolution, View

__all__ = [
    "GONE",
    "Entries",
    "Evolution",
    "Evolve",
    "Frozen",
    "LiveStates",
    "Reach",
    "StateDescription",
    "StatePartition",
    "StoredState",
    "View",
    "freeze",
    "same",
    "thaw",
]
