"""The programs `anofpdm` and `anofpdm-worker`; there is nothing to import."""
