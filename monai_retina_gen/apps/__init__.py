"""What a person runs: a command parses, calls one function of the package, and prints."""
