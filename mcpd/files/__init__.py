"""Files below ROOT/<service>/, and nothing else (DESIGN section 9, audit S4 and S6)."""
