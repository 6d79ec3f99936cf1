"""The selection-rate study: generators trained on the photographs on whose label enough readers agree."""
