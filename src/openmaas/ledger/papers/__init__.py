"""What is told about months that have passed: invoices, statements, exports, reconciliation, corrections."""
