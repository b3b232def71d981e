"""Files and objects, how they are written whole, and what is kept in them: outputs, ledger, registry, locks."""
