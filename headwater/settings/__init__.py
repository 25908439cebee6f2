"""Configuration keys: what each means, which values it takes, and how it stands.

In the order in which to read them: `kinds` of values, the `setting`, the tables of those in force (`engine`,
`streaming`) and of those that nothing reads (`ineffective`), and the `table` of all, by which everything else reads a
setting. `headwater.conf.SparkConf` is what programs see of it.
"""
