"""The agent that operates a phone or a computer: from an instruction to the last tap, and what may stop it."""
