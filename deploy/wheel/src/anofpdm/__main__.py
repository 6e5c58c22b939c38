from anofpdm.launcher import coordinator

coordinator()
