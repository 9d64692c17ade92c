"""Journals become receipts, charges and transfers, once each."""
