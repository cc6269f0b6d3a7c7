"""The sdgen command: parse, call, print. No numerics, and nothing heavy is imported to answer --help."""
