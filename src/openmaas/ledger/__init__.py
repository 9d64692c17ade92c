"""The books: accounts, transfers, leases, the journal, receipts."""
