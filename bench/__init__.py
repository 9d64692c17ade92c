"""Measures relay and ledger beside their peers, in one run. Databases are started as the tests start theirs
(``tests/servers.py``): twenty tests own that code, two benchmarks borrow it."""
