"""What leaves the house on paper or as a file: invoices as HTML and PDF, tables as CSV, JSON lines and Parquet."""
