-- Where a customer's periods lie, and until when any is final, is asked again and again: of
-- an index alone, as the row of an invoice has some kilobytes.
DROP INDEX invoices_by_customer;
CREATE INDEX invoices_by_customer ON invoices (customer, period_start_ms, period_end_ms);
CREATE INDEX invoices_by_end ON invoices (period_end_ms);
