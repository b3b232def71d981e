"""The commands of python -m flows, each in the file of its name.

What a command runs is imported when it runs, so that --help and a mistyped option answer at once.
"""
