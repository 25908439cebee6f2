"""Reference: the same word count in one plain Python process (no streaming package).

pipeline: flatMap / map / reduceByKey's combine as lazy iterators with the user's
lambdas called per record, the least any faithful implementation in Python pays;
fused: collections.Counter over whole-file split, a ceiling without user lambdas.
"""

import collections
import itertools
import json
import os
import sys
import tempfile
import time

import gen

data = sys.argv[1] if len(sys.argv) > 1 else os.path.join(tempfile.gettempdir(), "bench-data")
path, nlines, words = gen.files(data, 1, 50)[0]
flat, pair, add = (lambda l: l.split(" ")), (lambda w: (w, 1)), (lambda a, b: a + b)


def pipeline():
    acc = {}
    with open(path) as f:
        it = (l.rstrip("\n") for l in f)
        for k, v in map(pair, itertools.chain.from_iterable(map(flat, it))):
            acc[k] = add(acc[k], v) if k in acc else v
    return acc


def fused():
    with open(path) as f:
        return collections.Counter(f.read().split())


out = {}
for f in (pipeline, fused):
    best = 9e9
    for _ in range(3):
        t = time.perf_counter()
        n = sum(f().values())
        best = min(best, time.perf_counter() - t)
    assert n == words
    out[f.__name__ + "_words_per_s"] = round(words / best)
print(json.dumps({"bench": "ref_python", "python": sys.version.split()[0], **out}))
