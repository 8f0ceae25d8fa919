"""Access to files below ROOT/<service>/ and nowhere else (DESIGN section 9, audit S4 and S6)."""
