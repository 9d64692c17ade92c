"""The books: accounts, transfers, prices, leases, the journal, receipts."""
