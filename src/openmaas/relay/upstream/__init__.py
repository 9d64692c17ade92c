"""The engine's side: requests to an engine, its answer by callback, and the connections kept between them."""
