"""What a person runs: each module is a command, with `add_parser`, `run`, and a plain function for Python."""
