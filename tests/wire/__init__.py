"""What peers may put on the wire and what becomes of it; docs/hardening.md is the table of these tests."""
