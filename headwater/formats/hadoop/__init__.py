"""Hadoop's input and output formats: those that Python programs meet, without Hadoop.

`settings` knows a job's settings, `inputs` and `outputs` the formats by their class names. The files themselves are
those of `headwater.formats.textfiles` and `headwater.formats.sequencefile`.
"""
