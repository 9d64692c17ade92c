"""What customers have bought or been given, who pays for whom, and where they stand."""
