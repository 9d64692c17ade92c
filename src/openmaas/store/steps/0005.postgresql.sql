-- Version 5: what the operator's own accounts have is carried over when they are full.
ALTER TABLE transfers DROP CONSTRAINT transfer_kind;
ALTER TABLE transfers ADD CONSTRAINT transfer_kind CHECK (kind IN ('topup', 'refund', 'purchase', 'credit_note', 'voucher', 'grant', 'return', 'expiry', 'charge', 'excess', 'unbilled', 'correction', 'carry'));
