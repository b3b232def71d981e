"""The commands of rnnfast, each in the file of its name.

What a command runs is imported when it runs, so that --help and a mistyped option answer at once.
"""

from flows.cli.light import load_lightly

load_lightly()  # before any command asks rnnfast for the names that its options choose from
