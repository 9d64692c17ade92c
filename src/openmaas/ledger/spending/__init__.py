"""Where the money of a request comes from: its sources in order, slices leased from the database, holds in memory."""
