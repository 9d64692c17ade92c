"""The llama.cpp engine: an inner server from the ``xllamacpp`` wheel, and our wire in front that counts and mends."""
