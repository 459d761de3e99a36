"""The hub: brokers comparisons, keeps the ledger, stores no indicator and no token."""
