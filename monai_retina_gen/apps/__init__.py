"""What a person runs. Each module is a command: `add_parser` describes it, `run` does it, a plain function serves Python."""
