"""First-party applications: each is a tenant of the public API, with a key and receipts like any customer's."""
