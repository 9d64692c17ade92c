"""How a seed becomes a world: its cast first, then its goods and journeys, then what people wrote and planned."""
