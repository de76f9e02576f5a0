-- Sums over all producers, whose rows stay for ever: whoever asks how things are must not
-- read a million of them. Kept by the database itself, in the transaction that changes a
-- producer. Numbers that peers announce are two columns, which cannot overflow.
CREATE TABLE producer_sums (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  recorded_high INTEGER NOT NULL,
  recorded_low INTEGER NOT NULL,
  lost_high INTEGER NOT NULL,
  lost_low INTEGER NOT NULL,
  ingested INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  duplicates INTEGER NOT NULL,
  unattributed INTEGER NOT NULL,
  bad_quantities INTEGER NOT NULL,
  open INTEGER NOT NULL,
  closed INTEGER NOT NULL,
  in_memory INTEGER NOT NULL
) STRICT;
INSERT INTO producer_sums
  SELECT 1,
    coalesce(sum(p.recorded_seq / 4294967296), 0),
    coalesce(sum(p.recorded_seq % 4294967296), 0),
    coalesce(sum(p.lost / 4294967296), 0),
    coalesce(sum(p.lost % 4294967296), 0),
    coalesce(sum(p.ingested), 0),
    coalesce(sum(p.refused), 0),
    coalesce(sum(p.duplicates), 0),
    coalesce(sum(p.unattributed), 0),
    coalesce(sum(p.bad_quantities), 0),
    coalesce(sum(1 - p.is_closed), 0),
    coalesce(sum(p.is_closed), 0),
    coalesce(sum((p.is_closed = 0 AND p.spool <> 'file')), 0)
  FROM producers p;
CREATE TRIGGER producer_added AFTER INSERT ON producers BEGIN
  UPDATE producer_sums SET
    recorded_high = recorded_high + (NEW.recorded_seq / 4294967296),
    recorded_low = recorded_low + (NEW.recorded_seq % 4294967296),
    lost_high = lost_high + (NEW.lost / 4294967296),
    lost_low = lost_low + (NEW.lost % 4294967296),
    ingested = ingested + NEW.ingested,
    refused = refused + NEW.refused,
    duplicates = duplicates + NEW.duplicates,
    unattributed = unattributed + NEW.unattributed,
    bad_quantities = bad_quantities + NEW.bad_quantities,
    open = open + (1 - NEW.is_closed),
    closed = closed + NEW.is_closed,
    in_memory = in_memory + (NEW.is_closed = 0 AND NEW.spool <> 'file');
END;
CREATE TRIGGER producer_changed AFTER UPDATE ON producers BEGIN
  UPDATE producer_sums SET
    recorded_high = recorded_high + (NEW.recorded_seq / 4294967296) - (OLD.recorded_seq / 4294967296),
    recorded_low = recorded_low + (NEW.recorded_seq % 4294967296) - (OLD.recorded_seq % 4294967296),
    lost_high = lost_high + (NEW.lost / 4294967296) - (OLD.lost / 4294967296),
    lost_low = lost_low + (NEW.lost % 4294967296) - (OLD.lost % 4294967296),
    ingested = ingested + NEW.ingested - OLD.ingested,
    refused = refused + NEW.refused - OLD.refused,
    duplicates = duplicates + NEW.duplicates - OLD.duplicates,
    unattributed = unattributed + NEW.unattributed - OLD.unattributed,
    bad_quantities = bad_quantities + NEW.bad_quantities - OLD.bad_quantities,
    open = open + (1 - NEW.is_closed) - (1 - OLD.is_closed),
    closed = closed + NEW.is_closed - OLD.is_closed,
    in_memory = in_memory + (NEW.is_closed = 0 AND NEW.spool <> 'file') - (OLD.is_closed = 0 AND OLD.spool <> 'file');
END;
CREATE TRIGGER producer_gone AFTER DELETE ON producers BEGIN
  UPDATE producer_sums SET
    recorded_high = recorded_high - (OLD.recorded_seq / 4294967296),
    recorded_low = recorded_low - (OLD.recorded_seq % 4294967296),
    lost_high = lost_high - (OLD.lost / 4294967296),
    lost_low = lost_low - (OLD.lost % 4294967296),
    ingested = ingested - OLD.ingested,
    refused = refused - OLD.refused,
    duplicates = duplicates - OLD.duplicates,
    unattributed = unattributed - OLD.unattributed,
    bad_quantities = bad_quantities - OLD.bad_quantities,
    open = open - (1 - OLD.is_closed),
    closed = closed - OLD.is_closed,
    in_memory = in_memory - (OLD.is_closed = 0 AND OLD.spool <> 'file');
END;

-- The list begins with who is open, and then goes by when they were last heard of.
CREATE INDEX producers_seen ON producers (is_closed, seen_ms DESC);
CREATE INDEX producers_with_gap ON producers (seen_ms) WHERE recorded_seq > last_seq;
