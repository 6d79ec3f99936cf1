"""What a person runs: each module is a command, which parses, calls one function of the package, and prints."""
