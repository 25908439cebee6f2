"""Hadoop's input and output formats: those that Python programs meet, without Hadoop.

`settings` knows what a job is told, `inputs` and `outputs` the formats by their class names, and `reading` is what a
`SparkContext` has of it. The files themselves are `headwater.formats.textfiles`' and `headwater.formats.sequencefile`'s.
"""
